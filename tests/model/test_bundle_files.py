"""A bundle's files: none from elsewhere, none too large, every one of them as it was when the bundle was made."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from model.bundle import BundleError, add_files, load_bundle, seal_bundle
from model.bundle_files import LARGEST, sealed, without_seal
from tests.support.tiny import make_tiny_bundle

ROOT = Path(__file__).parents[2]
FILES = ("bundle.yaml", "model.safetensors", "calibration.json", "golden.json", "tokenizer.json", "history.json",
         "report.json", "README.md", "report.html")  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    files = {"report.json": b'{"rows": 1}\n', "README.md": b"# tiny\n", "report.html": b"<!DOCTYPE html>\n"}
    add_files(folder, files | {"history.json": b"[]\n"})
    return folder


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def refusal(bundle: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    return str(caught.value)


def test_every_file_of_a_bundle_is_there_and_under_a_checksum(original: Path) -> None:
    assert {file.name for file in original.iterdir()} == set(FILES)
    assert load_bundle(original).report == {"rows": 1}


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_anywhere_is_named(bundle: Path, name: str) -> None:
    content = (bundle / name).read_bytes()
    for place in (0, len(content) // 2, len(content) - 2):
        (bundle / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert name in refusal(bundle)


def test_a_comment_in_the_manifest_is_a_change_too(bundle: Path) -> None:
    file = bundle / "bundle.yaml"
    file.write_bytes(b"# mine\n" + file.read_bytes())
    assert "trunkline seal" in refusal(bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_link_out_of_the_folder_is_not_followed(bundle: Path, name: str) -> None:
    """Even where what it leads to is just what the checksum says."""
    elsewhere = bundle.parent / "elsewhere"
    (bundle / name).rename(elsewhere)
    for target in (elsewhere, Path("..") / "elsewhere"):
        (bundle / name).unlink(missing_ok=True)
        (bundle / name).symlink_to(target)
        assert re.search(rf"{re.escape(str(bundle / name))}: is a link that leads out", refusal(bundle))


def test_links_within_the_folder_and_to_it_are_followed(bundle: Path, tmp_path: Path) -> None:
    (bundle / "data").mkdir()
    (bundle / "model.safetensors").rename(bundle / "data" / "blob")
    (bundle / "model.safetensors").symlink_to("data/blob")
    (tmp_path / "current").symlink_to(bundle)
    assert load_bundle(tmp_path / "current").digest == load_bundle(bundle).digest


@pytest.mark.parametrize("name", FILES[:-3])
def test_what_is_no_file_holds_nobody_up(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    assert f"{name}: is not a file" in refusal(bundle)
    (bundle / name).unlink()
    (bundle / name).mkdir()
    assert f"{name}: is not a file" in refusal(bundle)
    (bundle / name).rmdir()
    (bundle / name).symlink_to(name)
    assert f"{name}: cannot be read" in refusal(bundle)


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_a_size_that_it_may_not_exceed(bundle: Path, name: str) -> None:
    limit = LARGEST.get(name, LARGEST["golden.json"])
    os.truncate(bundle / name, limit + 1)  # a hole: it takes no place on the disk, and is never read
    assert f"{name}: larger than the {limit} bytes" in refusal(bundle)


def test_a_file_that_the_manifest_does_not_name_is_not_read(bundle: Path) -> None:
    os.mkfifo(bundle / "other.json")
    load_bundle(bundle)


def test_measuring_a_bundle_does_not_make_it_another_one(bundle: Path) -> None:
    before = load_bundle(bundle).digest
    add_files(bundle, {"report.json": b'{"rows": 2}\n', "README.md": b"# 2\n", "report.html": b"<p>2"})
    assert load_bundle(bundle).digest == before
    assert load_bundle(bundle).report == {"rows": 2}


def test_an_interruption_while_files_are_put_in_leaves_a_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import model.bundle as module

    write, writes = module.write_atomically, []

    def stop(path: Path, content: bytes) -> None:
        writes.append(path.name)
        if len(writes) == 3:
            raise OSError("no space left")
        write(path, content)

    monkeypatch.setattr(module, "write_atomically", stop)
    with pytest.raises(OSError, match="no space"):
        add_files(bundle, {"report.json": b"{}", "README.md": b"new"})
    assert load_bundle(bundle).report is None


def test_sealing_takes_a_change_that_was_meant(bundle: Path) -> None:
    manifest = bundle / "bundle.yaml"
    manifest.write_bytes(without_seal(manifest.read_bytes()).replace(b"name: tiny", b"name: renamed"))
    (bundle / "README.md").write_text("# by hand\n")
    (bundle / "report.html").write_text("<p>by hand")
    assert "does not end with a checksum" in refusal(bundle)
    assert seal_bundle(bundle).name == "renamed"
    (bundle / "README.md").unlink()
    seal_bundle(bundle)
    assert load_bundle(bundle).name == "renamed"


@pytest.mark.parametrize("name", FILES[1:6])
def test_sealing_takes_no_change_of_what_answers(bundle: Path, name: str) -> None:
    before = (bundle / "bundle.yaml").read_bytes()
    (bundle / name).write_bytes((bundle / name).read_bytes() + b" ")
    with pytest.raises(BundleError, match=re.escape(name)):
        seal_bundle(bundle)
    assert (bundle / "bundle.yaml").read_bytes() == before


def test_the_command_seals_and_says_what_is_wrong(bundle: Path) -> None:
    (bundle / "README.md").write_text("# by hand\n")
    done = CliRunner().invoke(cli, ["seal", str(bundle)])
    assert done.exit_code == 0
    assert "digest" in done.output
    load_bundle(bundle)
    (bundle / "golden.json").write_text("[]")
    refused = CliRunner().invoke(cli, ["seal", str(bundle)])
    assert refused.exit_code == 2
    assert "golden.json" in refused.output


def test_a_checksum_of_another_text_is_none(bundle: Path) -> None:
    content = (bundle / "bundle.yaml").read_bytes()
    (bundle / "bundle.yaml").write_bytes(without_seal(content) + b"\n" + sealed(without_seal(content))[-75:])
    assert "bundle.yaml" in refusal(bundle)


def test_nothing_that_serves_or_trains_reads_a_pickle() -> None:
    """torch.load is for the checkpoints of one's own training, and there reads tensors alone."""
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in ("app", "model")
        for path in (ROOT / room).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\b(import (pickle|shelve|marshal|dill|joblib)|pickle\.|allow_pickle|torch\.load\()", line)
    }
    assert all("weights_only=True" in line for line in found), found
