"""Settings come from one definition, and a wrong one is told by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


def made(**values: object) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


def test_defaults_serve_the_shipped_bundle_to_this_machine_alone() -> None:
    settings = made()
    assert settings.host == "127.0.0.1"
    assert settings.bundles[0].parts[-2:] == ("weights", "fashion")
    assert settings.cors_origins == ()


def test_flag_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("TRUNKLINE_PORT=1\nTRUNKLINE_MAX_QUEUE=1\nTRUNKLINE_HOST=file\nOTHER=x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRUNKLINE_PORT", "2")
    monkeypatch.setenv("TRUNKLINE_MAX_QUEUE", "2")
    settings = Settings(port=3)
    assert (settings.port, settings.max_queue, settings.host) == (3, 2, "file")


def test_lists_and_sizes_are_written_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_BUNDLES", "weights/a, weights/b")
    monkeypatch.setenv("TRUNKLINE_BATCH_SIZES", "1,4,16")
    monkeypatch.setenv("TRUNKLINE_MAX_IMAGE_BYTES", "2MiB")
    monkeypatch.setenv("TRUNKLINE_CORS_ORIGINS", "")
    settings = made()
    assert settings.bundles == (Path("weights/a"), Path("weights/b"))
    assert settings.batch_sizes == (1, 4, 16)
    assert settings.limits().max_image_bytes == 2 << 20
    assert settings.cors_origins == ()
    assert settings.serving().bundles == settings.bundles


def test_a_gpu_gets_larger_batches_and_both_what_is_asked_for() -> None:
    assert max(made(device="cpu").serving().batch_sizes) == 32
    gpu = made(device="cuda")
    assert max(gpu.serving().batch_sizes) == 256
    assert gpu.runtime_choice()["batch_sizes"] == gpu.serving().batch_sizes
    assert made(device="cuda", batch_sizes="1,8").serving().batch_sizes == (1, 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70000), ("device", "tpu"), ("batch_sizes", "4,2"), ("batch_sizes", "0"), ("batch_sizes", ""),
        ("bundles", ""), ("deadline", 0), ("max_image_bytes", "lots"), ("cors_origins", "shop.example"),
        ("cors_origins", "https://shop.example/path"), ("log_level", "loud"), ("max_in_flight", 0),
    ],
)  # fmt: skip
def test_wrong_values_name_the_setting(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        made(**{name: value})
    assert [fault["loc"][0] for fault in refused.value.errors()] == [name]


def test_every_setting_says_what_it_does() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
