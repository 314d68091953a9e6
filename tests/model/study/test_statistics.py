"""Figures and verdicts, against arithmetic by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.study.statistics import Figure, Results, beyond_chance, interval
from model.study.variants import IDEAS, Idea
from tests.model.study.made import SHARES, plan_of, write

FUSION = Idea("fusion", (("alpha", "concat"),))


def verdicts(tmp_path: Path, concat: list[float], alpha: list[float]) -> list[str]:
    plan = plan_of(["alpha", "concat"], SHARES[:1])
    write(plan, tmp_path, {"alpha": {0.05: alpha}, "concat": {0.05: concat}})
    return [d.verdict for d in Results(plan, tmp_path).differences(FUSION, ("alpha", "concat"))]


def test_a_mean_and_its_spread() -> None:
    assert Figure.of([1.0, 2.0, 3.0]) == Figure(2.0, 1.0)
    assert Figure.of([1.0]) == Figure(1.0, None)


def test_the_interval_is_student_s() -> None:
    # t(0.975; 2) = 4.3027; the standard deviation of 1, 2, 3 is 1.
    assert interval([0.01, 0.02, 0.03]) == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-4)
    assert interval([0.5]) is None


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    # The seeds differ by far more than the variants do; paired, the difference is certain.
    assert set(verdicts(tmp_path, [0.5, 0.6, 0.7], [0.511, 0.61, 0.71])) == {"better"}


def test_a_few_certain_differences_among_many_are_what_chance_gives() -> None:
    # Above 0.05 and at most: 1 - 0.975^10 = 0.22 and 0.024; 1 - 0.975^2 = 0.049.
    assert not beyond_chance(0, 10)
    assert not beyond_chance(1, 10)
    assert beyond_chance(2, 10)
    assert beyond_chance(1, 2)
    assert not beyond_chance(1, 3)


@pytest.mark.parametrize(
    ("alpha", "verdict"), [([0.49, 0.59, 0.69], "worse"), ([0.55, 0.58, 0.71], "open"), ([0.5, 0.6, 0.7], "open")]
)
def test_what_is_not_better_is_said_not_to_be(tmp_path: Path, alpha: list[float], verdict: str) -> None:
    assert set(verdicts(tmp_path, [0.5, 0.6, 0.7], alpha)) == {verdict}


def test_only_seeds_that_both_have_are_compared(tmp_path: Path) -> None:
    plan = plan_of(["alpha", "concat"], SHARES[:1])
    write(plan, tmp_path, {"alpha": {0.05: [0.5, 0.6, 0.9]}, "concat": {0.05: [0.4]}})
    results = Results(plan, tmp_path)
    (first, *_) = results.differences(FUSION, ("alpha", "concat"))
    assert (first.mean, first.half, first.verdict) == (pytest.approx(0.1), None, "one seed")
    assert results.missing == 2


def test_across_compares_each_with_all_that_it_reads(tmp_path: Path) -> None:
    plan = plan_of(["base", "tfidf"], SHARES[:1])
    write(plan, tmp_path, {"base": {0.05: [0.6] * 3}, "tfidf": {0.05: [0.5] * 3}})
    idea = next(idea for idea in IDEAS if idea.across and idea.pairs == (("base", "tfidf"),))
    found = Results(plan, tmp_path).differences(idea, ("base", "tfidf"))
    assert {d.setup for d in found} == {"image + text, against text"}
    assert {d.metric: round(d.mean, 6) for d in found} == {"accuracy": 0.1, "macro_f1": 0.05}


def test_networks_for_each_task_are_one_line(tmp_path: Path) -> None:
    plan = plan_of(["single_task"], SHARES[:1])
    write(plan, tmp_path, {"single_task": {0.05: [0.5, 0.6, 0.7]}})
    line = Results(plan, tmp_path).line("single_task", SHARES[0])
    assert line is not None
    assert line.parameters == 5 * 1000
    assert line.seconds == [5 * 60.0] * 3
    assert line.core_seconds == [5 * 90.0] * 3
    assert line.figure("text", "accuracy") == Figure(pytest.approx(0.6), pytest.approx(0.1))
    assert line.figure("text", "accuracy", "colour") == line.figure("text", "accuracy")


def test_a_network_a_task_counts_when_all_are_there(tmp_path: Path) -> None:
    plan = plan_of(["single_task"], SHARES[:1])
    write(plan, tmp_path, {"single_task": {0.05: [0.5, 0.6, 0.7]}})
    plan.runs(plan.variants[0], SHARES[0], 1)[2].path(tmp_path).unlink()
    line = Results(plan, tmp_path).line("single_task", SHARES[0])
    assert line is not None
    assert list(line.results) == [0, 2]


def test_a_failure_is_no_result(tmp_path: Path) -> None:
    plan = plan_of(["base"], SHARES[:1])
    write(plan, tmp_path, {"base": {0.05: [0.5, 0.6]}})
    plan.runs(plan.variants[0], SHARES[0], 2)[0].save(tmp_path, {"failed": "diverged", "machine": "m", "torch": "0"})
    results = Results(plan, tmp_path)
    assert results.missing == 0
    assert results.failures("base", SHARES[0]) == {2: "diverged"}
    line = results.line("base", SHARES[0])
    assert line is not None
    assert list(line.results) == [0, 1]
