"""The gate: who is let in, and how soon the file's changes count."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from app.access.exposure import is_foreign_name, is_local
from app.access.file import add_key, revoke_key
from app.access.gate import LOOK_SECONDS, Gate
from app.access.keys import Scope, make_key
from app.errors import Forbidden, Unauthenticated


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def look(self) -> None:
        """Let the time pass after which a gate looks at its file."""
        self.now += LOOK_SECONDS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def add(file: Path, name: str, *scopes: Scope) -> str:
    text, key = make_key(name, (), scopes or ("predict",), None, None)
    add_key(file, key)
    return text


def refused(gate: Gate, presented: str | None, scope: Scope = "predict") -> str:
    with pytest.raises((Unauthenticated, Forbidden)) as error:
        gate.admit(presented, scope)
    return error.value.code


def test_scopes_are_kept_apart(file: Path) -> None:
    predict = add(file, "shop")
    gate = Gate(file)
    with gate.admit(predict, "predict") as admitted:
        assert admitted.key.name == "shop"
    assert refused(gate, predict, "admin") == "forbidden"
    file.unlink()
    both = add(file, "both", "predict", "admin")
    gate = Gate(file)
    with gate.admit(both, "predict"), gate.admit(both, "admin"):
        pass


def test_no_key_and_a_wrong_one_are_told_apart(file: Path) -> None:
    add(file, "shop")
    gate = Gate(file)
    with pytest.raises(Unauthenticated, match="Send an API key"):
        gate.admit(None, "predict")
    with pytest.raises(Unauthenticated, match="not valid"):
        gate.admit("tl_000_wrong", "predict")


def test_before_the_first_key_nobody_is_let_in(file: Path, clock: Clock) -> None:
    gate = Gate(file, now=clock)
    with pytest.raises(Unauthenticated, match="no key yet"):
        gate.admit(None, "predict")
    text = add(file, "first")
    clock.look()
    with gate.admit(text, "predict"):
        pass


def test_a_revoked_key_is_refused_within_the_time_and_others_stay(file: Path, clock: Clock) -> None:
    first = add(file, "first")
    text, key = make_key("second", {first[3:6]}, ["predict"], None, None)
    add_key(file, key)
    gate = Gate(file, now=clock)
    assert gate.keys == 2
    revoke_key(file, "first")
    clock.now += LOOK_SECONDS * 0.99
    gate.admit(first, "predict")
    clock.now += LOOK_SECONDS * 0.01
    assert refused(gate, first) == "unauthenticated"
    with gate.admit(text, "predict"):
        pass


def test_the_file_is_looked_at_once_a_second_and_read_when_it_changed(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = add(file, "shop")
    gate = Gate(file, now=clock)
    looks, reads = [], []
    stat, open_ = os.stat, os.open
    monkeypatch.setattr(os, "stat", lambda *a, **k: (looks.append(1), stat(*a, **k))[1])
    monkeypatch.setattr(os, "open", lambda *a, **k: (reads.append(1), open_(*a, **k))[1])
    for _ in range(1000):
        with gate.admit(text, "predict"):
            pass
        clock.now += 0.01
    monkeypatch.undo()
    assert 8 <= len(looks) <= 10
    assert reads == []


def test_a_file_that_is_gone_lets_nobody_in(file: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    text = add(file, "shop")
    gate = Gate(file, now=clock)
    file.unlink()
    clock.look()
    assert refused(gate, text) == "unauthenticated"
    assert "no key is valid any more" in caplog.text


def test_a_slip_in_the_file_changes_nothing_and_is_said_once(
    file: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    text = add(file, "shop")
    whole = file.read_bytes()
    gate = Gate(file, now=clock)
    file.write_bytes(whole[:-10])
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            clock.look()
            with gate.admit(text, "predict"):
                pass
    assert len(caplog.records) == 1
    assert text not in caplog.text
    file.write_bytes(whole.replace(b'"shop"', b'"mart"'))
    clock.look()
    with gate.admit(text, "predict") as admitted:
        assert admitted.key.name == "mart"


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False),
     ("::", False), ("192.168.1.2", False), ("10.0.0.1", False), ("fe80::1%eth0", False), ("2001:db8::1", False)],
)  # fmt: skip
def test_what_only_this_machine_reaches(address: str, local: bool) -> None:
    assert is_local(address) is local


@pytest.mark.parametrize(
    ("host", "foreign"),
    [("127.0.0.1:8000", False), ("localhost:8000", False), ("localhost", False), ("[::1]:8000", False), ("", False),
     ("trunkline:8000", False), ("shop.localhost:80", False), ("192.168.1.2", False), ("evil.example", True),
     ("evil.example:8000", True), ("evil.example.:8000", True), ("127.0.0.1.evil.example", True), ("a.b:x", True)],
)  # fmt: skip
def test_names_that_somebody_may_have_pointed_here(host: str, foreign: bool) -> None:
    assert is_foreign_name(host) is foreign
