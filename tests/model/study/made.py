"""Made results: what runs would have written, from numbers that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.config import parse_config
from model.study.plan import Plan, Share, make_plan
from model.study.variants import by_name
from tests.support.tiny import tiny_document

SHARES = (Share(0.05, 3, 4), Share(1.0, 1, 2))


def plan_of(names: Sequence[str], shares: Sequence[Share] = SHARES, **changes: Any) -> Plan:
    """A plan over the tiny config."""
    return make_plan(parse_config(tiny_document(**changes)), [by_name(name) for name in names], shares, "data")


def write(plan: Plan, out: Path, accuracies: Mapping[str, Mapping[float, Sequence[float]]]) -> None:
    """Write results: variant -> fraction -> one mean accuracy a seed; macro-F1 is half of it."""
    for variant in plan.variants:
        for share in plan.shares:
            for seed, accuracy in enumerate(accuracies.get(variant.name, {}).get(share.fraction, ())):
                for run in plan.runs(variant, share, seed):
                    measured = {
                        setup: {
                            task: {"count": 10, "accuracy": accuracy, "macro_f1": accuracy / 2}
                            for task in run.config.tasks
                        }
                        for setup in (
                            ["text", "masked text"] if variant.method == "tfidf" else ["image + text", "text"]
                        )
                    }
                    result = {
                        "results": measured,
                        "results_without_beta": measured,
                        "parameters": 1000,
                        "seconds": 60.0,
                        "core_seconds": 90.0,
                        "machine": "made, 1 threads, cpu",
                        "torch": "0",
                    }
                    run.save(out, result)
