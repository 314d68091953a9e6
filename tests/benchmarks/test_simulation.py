"""The simulator: what must hold whatever the steps cost, and that its policies are the service's own."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmarks import chart
from benchmarks.simulate import compare, from_limit, levels, row, table
from benchmarks.simulation import Machine, Policy, Result, Simulation, closed, opened

# One core for the forward, one for all else; a batch of 32 is five times as cheap an item as one alone.
MACHINE = Machine(
    forward={1: 0.010, 32: 0.064}, intake=0.001, parse=0.0001, answer=0.0002, refuse=0.00005, cores=2, intake_threads=1
)


def test_a_lone_client_waits_for_nothing_but_its_own_steps() -> None:
    result = closed(MACHINE, Policy(), 1, seconds=2, warm=0.5)
    assert result.percentile(0.5) == pytest.approx(0.0113, rel=0.02)
    assert result.throughput == pytest.approx(1 / 0.0113, rel=0.02)
    assert result.batch == 1
    assert not result.refusals


def test_batches_grow_with_the_clients_until_the_forward_is_all_there_is() -> None:
    results = [closed(MACHINE, Policy(), clients, seconds=3, warm=1) for clients in (1, 8, 64)]
    assert [result.batch for result in results] == sorted(result.batch for result in results)
    assert results[-1].throughput == pytest.approx(32 / 0.064, rel=0.05)
    assert set(results[-1].batches) <= set(Policy().sizes)


def test_what_shares_the_cores_slows_each_other_down() -> None:
    alone = closed(MACHINE, Policy(), 64, seconds=2, warm=1).throughput
    shared = closed(replace(MACHINE, cores=1), Policy(), 64, seconds=2, warm=1).throughput
    seconds = 0.064 / 32 + 0.0013 + 4 * 2e-5
    assert shared == pytest.approx(1 / seconds, rel=0.05)
    assert shared < alone


def test_a_device_runs_beside_the_cores() -> None:
    device = replace(MACHINE, cores=1, forward_cores=0, slots=2)
    assert closed(device, Policy(), 128, seconds=2, warm=1).throughput == pytest.approx(32 / 0.064, rel=0.05)


def test_an_open_loop_is_answered_as_it_comes() -> None:
    result = opened(MACHINE, Policy(), 100, seconds=10, warm=1)
    assert result.throughput == pytest.approx(100, rel=0.1)
    assert not result.refusals
    assert result.percentile(0.5) < result.percentile(0.99)


def test_overload_is_answered_at_capacity_in_bounded_time_and_the_rest_refused_at_once() -> None:
    capacity = closed(MACHINE, Policy(), 128, seconds=3, warm=1).throughput
    at_capacity = opened(MACHINE, Policy(), capacity, seconds=8, warm=1)
    overload = opened(MACHINE, Policy(), 4 * capacity, seconds=8, warm=1)
    assert overload.throughput >= 0.95 * capacity
    assert overload.percentile(0.99) <= 2 * at_capacity.percentile(0.99)
    assert overload.percentile(0.5, overload.refusals) < 0.02
    assert overload.refused == pytest.approx(0.75, abs=0.02)
    unbounded = opened(MACHINE, Policy(max_wait=math.inf), 4 * capacity, seconds=8, warm=1)
    assert unbounded.percentile(0.99) > 2 * overload.percentile(0.99)


@pytest.mark.parametrize("slower", [1, 10])
def test_the_wait_is_bounded_on_a_slow_machine_too(slower: int) -> None:
    machine = replace(
        MACHINE,
        forward={size: slower * seconds for size, seconds in MACHINE.forward.items()},
        intake=slower * MACHINE.intake,
    )
    result = opened(machine, Policy(), 2000 / slower, seconds=5 * slower, warm=3 * slower)
    assert result.refusals
    assert result.percentile(0.99) < 1.6


def test_a_run_is_the_same_again() -> None:
    first, again, other = (
        opened(MACHINE, Policy(), 200, lengths=(16, 48), seconds=2, warm=0.5, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_padding_is_counted() -> None:
    padded = closed(MACHINE, Policy(max_padding=1.0), 32, lengths=(16, 48), seconds=2, warm=0.5)
    grouped = closed(MACHINE, Policy(max_padding=0.0, batch_length=0), 32, lengths=(16, 48), seconds=2, warm=0.5)
    assert grouped.padding == 0 < padded.padding < 2 / 3


def test_nothing_is_lost() -> None:
    simulation = Simulation(MACHINE, Policy(max_queue=4, max_in_flight=40), seed=1)
    simulation.poisson(2000)
    simulation.run(1.0)
    simulation._events.clear()  # nobody comes any more
    simulation.run(60.0)
    assert simulation._admission.requests == 0
    assert len(simulation._batcher) == simulation._batcher.running == 0
    ended = len(simulation._answered) + len(simulation._refused)
    assert ended == pytest.approx(2000, rel=0.1)


def test_seconds_of_a_forward_lie_between_those_measured() -> None:
    machine = replace(MACHINE, token=1e-5, tokens=16)
    assert machine.seconds(1, 16) == 0.010
    assert machine.seconds(32, 16) == 0.064
    assert 0.010 < machine.seconds(16, 16) < 0.064
    assert machine.seconds(64, 16) == pytest.approx(0.128)
    assert machine.seconds(2, 48) == pytest.approx(machine.seconds(2, 16) + 2 * 32 * 1e-5)


LIMIT = {
    "server": "limit", "round": 0, "core_seconds": 0.0034, "decode_core": 0.0013, "tokenise_core": 0.0001,
    "forward_core": 0.002, "forward_batch": 32,
    "forward": {"1": {"core": 0.004, "wall": 0.005}, "32": {"core": 0.002, "wall": 0.003}},
}  # fmt: skip


def measured(level: str, answered: int, refused: int = 0) -> dict[str, object]:
    return {
        "level": level, "answered": answered, "answered_per_second": answered / 2, "sent": answered + refused,
        "refused": refused, "latency_ms": {"p50": 10.0, "p99": 20.0}, "server_cpu_seconds": 0.004 * answered,
        "generator_cpu_seconds": 0.0001 * answered,
    }  # fmt: skip


def test_a_run_of_the_bench_stands_beside_its_simulation() -> None:
    rows = [measured("1", 200), measured("32", 800), measured("4x", 800, 2400)]
    document = {
        "cores": 2,
        "units": [
            LIMIT,
            {"server": "mosec-taught", "round": 0, "rows": [measured("32", 1)]},
            {"server": "trunkline", "round": 0, "rows": rows},
            {"server": "trunkline", "round": 1, "failed": "did not start"},
        ],
    }
    text = compare(document, (16,))
    assert "HTTP 0.60 ms" in text
    head, _, *lines = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert len(head) == 9
    assert [line[0] for line in lines] == ["| 1", "| 32", "| 4x"]
    assert [line[1] for line in lines] == ["100", "400", "400"]
    assert float(lines[1][2]) == pytest.approx(500, rel=0.2)
    assert lines[2][7] == "75 %"


def test_costs_are_those_of_the_limit() -> None:
    machine = from_limit(LIMIT, http=0.001)
    assert machine.forward[32] * machine.forward_cores == pytest.approx(0.064)
    assert machine.intake == pytest.approx(0.0014)
    assert machine.parse + machine.answer == pytest.approx(0.001)


def test_a_table_has_a_line_a_level() -> None:
    found = list(levels(MACHINE, Policy(), ("8", "2x"), (16,)))
    lines = table(("load",) * 7, [row(level) for level in found]).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| 8 clients | ")
    assert lines[3].startswith("| 2x: ")
    assert isinstance(found[0].result, Result)


def test_a_chart_is_an_svg_with_every_line() -> None:
    panels = [
        chart.Panel("answers", {"a": [1.0, 2.0], "b & c": [2.0, 300.0]}),
        chart.Panel("latency", {"a": [0.5, 1000.0], "gap": [2.0, math.nan]}, logarithmic=True),
    ]
    root = ElementTree.fromstring(chart.draw([0.5, 2.0], "load", panels))
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2, 2, 1]
    numbers = [float(x) for line in lines for pair in line.attrib["points"].split() for x in pair.split(",")]
    assert all(0 <= number <= 460 for number in numbers)
