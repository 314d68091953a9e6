"""A run starts servers, measures them, keeps what it has and leaves nothing behind."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench
from benchmarks.processes import Tree
from benchmarks.servers import NotReady, Server

ROOT = Path(__file__).resolve().parents[2]
TINY = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *arguments): pass
    def do_GET(self): self.answer(b"{}")
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(b'{"predictions": {"kind": {"label": "Shoes"}}}')
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Tiny(ThreadingHTTPServer):
    request_queue_size = 128
Tiny(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
ORPHANS = """
import subprocess, sys, time
child = "import sys, time; sys.stdout.write('x'); sys.stdout.flush(); sum(range(3_000_000)); time.sleep(600)"
for _ in range(2):
    subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
"""


def arguments(tmp_path: Path, **more: Any) -> argparse.Namespace:
    given = {
        "rounds": 1, "seconds": 0.2, "warm": 0.1, "warm_up": 0.1, "levels": ("2", "1x"), "levels_ours": ("2",),
        "uploads": 2, "images": None, "bundle": ROOT / "weights" / "fashion", "peers": tmp_path, "resume": None,
    }  # fmt: skip
    return argparse.Namespace(**{**given, **more})


def alive(log: Path, wanted: int) -> None:
    ends = time.monotonic() + 30
    while log.read_text().count("x") < wanted:
        assert time.monotonic() < ends, "the processes did not start"
        time.sleep(0.02)


def test_a_tree_holds_what_its_command_left_behind_and_ends_with_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tree = Tree([sys.executable, "-c", ORPHANS], {}, log, tmp_path)
    alive(log, 2)  # the first process has ended by now, and its children are in sessions of their own
    assert tree.memory_bytes() > 1 << 20
    assert tree.cpu_seconds() > 0
    tree.stop(patience=0.1)
    assert tree.memory_bytes() == 0
    assert tree.cpu_seconds() == 0


def test_a_run_measures_compares_and_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bench, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(bench, "describe", lambda peers, names: {"processor": "A"})
    limits: list[int] = []
    monkeypatch.setattr(bench.Bench, "_limit", lambda self: limits.append(1) or {"core_seconds": 0.001})
    monkeypatch.setattr(bench, "_CHECKED", 2)
    (tmp_path / "tiny.py").write_text(TINY)
    tiny = Server(
        "tiny", "tiny", "taught", (sys.executable, str(tmp_path / "tiny.py"), "{port}"), {"PEER_THREADS": "1"}
    )
    broken = Server("broken", "broken", "taught", (sys.executable, "-c", "raise SystemExit('no')"), tiny.settings)

    document = bench.Bench(arguments(tmp_path)).run([tiny, broken])
    units = {unit["server"]: unit for unit in document["units"]}
    assert [row["level"] for row in units[tiny.id]["rows"]] == ["2", "1x"]
    assert all(row["answered"] > 0 and row["errors"] == 0 for row in units[tiny.id]["rows"])
    assert all(row["memory_bytes"] > 0 and row["server_cpu_seconds"] >= 0 for row in units[tiny.id]["rows"])
    assert units[tiny.id]["agreement"] == 1
    assert "broken ended" in units[broken.id]["failed"]

    folder = next((tmp_path / "runs").iterdir())
    assert (folder / "results.json").exists()
    again = bench.Bench(arguments(tmp_path, resume=folder, rounds=2)).run([tiny])
    assert [(unit["server"], unit["round"]) for unit in again["units"]] == [
        ("limit", 0), (tiny.id, 0), (broken.id, 0), ("limit", 1), (tiny.id, 1),
    ]  # fmt: skip
    assert len(limits) == 2


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    server = Server("broken", "broken", "taught", (sys.executable, "-c", "print('a reason'); raise SystemExit(1)"))
    running = bench.Running(
        Server(server.name, server.key, server.variant, server.command, {"PEER_THREADS": "1"}),
        tmp_path,
        tmp_path,
        tmp_path,
    )
    with pytest.raises(NotReady, match="a reason"):
        running.wait_ready(bench.Upload(b"\xff\xd8", "title"))
    running.stop()


def test_the_command_that_is_recorded_names_no_place_of_the_machine() -> None:
    words = ["--record", "--peers", "/somewhere/peers", "--seconds", "3", "--images=/photos.zip", "--resume", "/runs/a"]
    assert bench.command(words) == "python -m benchmarks.bench --record --seconds 3"
    assert bench.command([]) == "python -m benchmarks.bench"


def test_the_plan_grows_with_what_is_measured(tmp_path: Path) -> None:
    servers = bench.SERVERS
    short, long = (bench.plan(servers, arguments(tmp_path, seconds=seconds)) for seconds in (1.0, 2.0))
    levels = sum(1 if server.variant == "ours" else 2 for server in servers)
    assert long - short == pytest.approx(levels)
    assert bench.plan(servers, arguments(tmp_path, rounds=3)) == pytest.approx(
        3 * bench.plan(servers, arguments(tmp_path))
    )
