"""Keys: random, kept as hashes, compared in constant time; and the file that they are kept in."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.access import keys as module
from app.access.file import KeysError, add_key, read_keys, revoke_key
from app.access.keys import PLACES, Key, KeyRing, make_key


def made(name: str = "shop", rate: float | None = None, concurrent: int | None = None) -> tuple[str, Key]:
    return make_key(name, (), ["predict"], rate, concurrent)


def test_a_key_is_256_random_bits_and_its_record_holds_none_of_them() -> None:
    made_keys = [made()[0] for _ in range(200)]
    secrets = [re.fullmatch(r"tl_[0-9a-f]{3}_([A-Za-z0-9_-]{43})", text) for text in made_keys]
    assert all(secrets)
    assert len({found[1] for found in secrets if found}) == 200  # 43 letters of base64 are 256 bits
    text, key = made()
    kept = key.model_dump_json()
    assert hashlib.sha256(text.encode()).hexdigest() in kept
    assert not [start for start in range(7, 40) if text[start : start + 8] in kept]


def test_a_key_is_known_again_and_nothing_else_is() -> None:
    text, key = made()
    ring = KeyRing([key, made("other")[1]] if made("other")[1].id != key.id else [key])
    assert ring.find(text) == key
    last = "A" if text[-1] != "A" else "B"
    for wrong in ("", "tl_", text[:-1], text + "x", text[:-1] + last, text.upper(), f" {text}", "é" * len(text)):
        assert ring.find(wrong) is None
    assert ring.find(f"tl_fff{text[6:]}" if key.id != "fff" else f"tl_000{text[6:]}") is None


def test_every_comparison_is_of_whole_hashes_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no key has the id, so that the time does not tell which ids there are."""
    compared: list[tuple[int, int]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    class Hmac:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(module, "hmac", Hmac)
    text, key = made()
    ring = KeyRing([key])
    other = "000" if key.id != "000" else "001"
    for presented in (text, text[:-2] + "AA", f"tl_{other}{text[6:]}"):
        ring.find(presented)
    assert compared == [(32, 32)] * 3


def test_ids_are_not_given_twice() -> None:
    taken = {f"{place:03x}" for place in range(PLACES) if place != 77}
    assert make_key("last", taken, ["predict"], None, None)[1].place == 77


@pytest.mark.parametrize(
    ("name", "rate", "concurrent"),
    [("", None, None), ("a b", None, None), ("x" * 65, None, None), ("ok", 0, None), ("ok", float("nan"), None),
     ("ok", float("inf"), None), ("ok", None, 0)],
)  # fmt: skip
def test_a_record_with_senseless_limits_is_not_made(name: str, rate: float | None, concurrent: int | None) -> None:
    with pytest.raises(ValidationError):
        made(name, rate, concurrent)


def test_add_read_revoke(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    (_, first), (_, second) = made("first", 50, 8), make_key("second", (), ["admin", "predict"], None, None)
    second = second.model_copy(update={"id": "001" if first.id != "001" else "002"})
    add_key(file, first)
    add_key(file, second)
    assert read_keys(file) == [first, second]
    assert revoke_key(file, "first") == first
    assert revoke_key(file, second.id) == second
    assert read_keys(file) == []
    with pytest.raises(KeysError, match="no key is named 'first'"):
        revoke_key(file, "first")


def test_names_are_not_given_twice(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", made()[1])
    with pytest.raises(KeysError, match="there is a key named 'shop' already"):
        add_key(tmp_path / "keys.json", made()[1])


def test_the_file_is_its_owner_s_alone_and_a_wider_mode_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    add_key(file, made("a")[1])
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    revoke_key(file, "a")
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "keys.json"
    link.symlink_to(tmp_path / "real" / "keys.json")
    add_key(link, made()[1])
    assert link.is_symlink()
    assert read_keys(tmp_path / "real" / "keys.json") == read_keys(link)


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys = [made(f"k{n}")[1].model_copy(update={"id": f"{n:03x}"}) for n in range(16)]
    threads = [threading.Thread(target=add_key, args=(file, key)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.id for key in read_keys(file)) == sorted(key.id for key in keys)


def entry(**changes: object) -> dict[str, object]:
    return {**json.loads(made()[1].model_dump_json()), **changes}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{", b"\xff", b'{"format": 2, "keys": []}', b'{"format": 1}', b"[" * 100_000,
        json.dumps({"format": 1, "keys": [entry(sha256="x")]}).encode(),
        json.dumps({"format": 1, "keys": [entry(scopes=[])]}).encode(),
        json.dumps({"format": 1, "keys": [entry(scopes=["root"])]}).encode(),
        json.dumps({"format": 1, "keys": [entry(rate=-1)]}).encode(),
        json.dumps({"format": 1, "keys": [entry(key="secret")]}).encode(),
        json.dumps({"format": 1, "keys": [entry(id="001"), entry(id="001", name="b")]}).encode(),
        json.dumps({"format": 1, "keys": [entry(id="001"), entry(id="002")]}).encode(),
        b" " * (5 << 20),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_named_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(content)
    with pytest.raises(KeysError, match=re.escape(str(file))) as refused:
        read_keys(file)
    assert "secret" not in str(refused.value)


def test_a_pipe_or_a_folder_in_the_place_of_the_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(KeysError):
            read_keys(tmp_path / name)
