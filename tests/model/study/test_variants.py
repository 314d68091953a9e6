"""Variants are data: every patch fits the study's config, and the ideas of the network all have their pairs."""

from __future__ import annotations

import copy
from pathlib import Path

from model.config import load_config, parse_config
from model.study.plan import Share, make_plan
from model.study.variants import IDEAS, VARIANTS, by_name, patched
from tests.model.study.made import plan_of
from tests.support.tiny import tiny_document

ROOT = Path(__file__).parents[3]


def test_a_patch_goes_deeper_replaces_and_removes_and_leaves_its_base_alone() -> None:
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": 3}
    before = copy.deepcopy(base)
    assert patched(base, {"a": {"c": {"d": 5}}, "e": [2, 3], "f": None}) == {"a": {"b": 1, "c": {"d": 5}}, "e": [2, 3]}
    assert base == before


def test_a_key_may_stand_for_every_entry_of_a_kind() -> None:
    document = tiny_document()
    changed = patched(document, {"modalities": {"kind=text": None}, "tasks": {"kind!=regression": {"weight": 2.0}}})
    assert list(changed["modalities"]) == ["image"]
    assert [task.get("weight", 1) for task in changed["tasks"].values()] == [2.0, 2.0, 2.0, 1, 2.0]
    assert list(document["modalities"]) == ["image", "text"]


def test_every_variant_fits_the_config_of_the_study() -> None:
    config = load_config(ROOT / "configs" / "study.yaml")
    plan = make_plan(config, VARIANTS, [Share(0.05, 1, 1)], "data")
    assert plan.left_out == {}
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    # Pictures are decoded once for all.
    for run in plan.all():
        for name, modality in run.config.modalities.items():
            if modality.kind == "image":
                same = {"encoder"}
                assert modality.model_dump(exclude=same) == config.modalities[name].model_dump(exclude=same)


def test_every_idea_has_its_variants() -> None:
    named = {name for idea in IDEAS for pair in idea.pairs for name in pair}
    assert named <= {variant.name for variant in VARIANTS}
    for name in """base tfidf image_only text_only concat alpha gated cross_attention cross_modal no_cross_modal
        single_task relation_none relation_given label_affinity gradient_affinity no_beta equal uncertainty upgrad mgda
        pcgrad imbalance_none logit_adjustment class_weights""".split():
        assert name in named, name


def test_the_same_config_is_trained_once() -> None:
    plan = plan_of(["base", "alpha", "cross_modal", "no_beta", "equal", "concat"], [Share(1.0, 2, 3)])
    assert [(run.variant, run.seed) for run in plan.all()] == [("base", 0), ("concat", 0), ("base", 1), ("concat", 1)]


def test_a_baseline_draws_nothing_from_all_of_the_data() -> None:
    seeds = [
        (run.variant, run.fraction, run.seed) for run in plan_of(["majority"], [Share(0.5, 2, 1), Share(1, 2, 1)]).all()
    ]
    assert seeds == [("majority", 0.5, 0), ("majority", 0.5, 1), ("majority", 1, 0)]


def test_a_network_a_task_is_as_many_trainings() -> None:
    plan = plan_of(["single_task"], [Share(1.0, 1, 3)])
    assert [list(run.config.tasks) for run in plan.all()] == [[name] for name in tiny_document()["tasks"]]


def test_a_task_by_itself_is_in_no_hierarchy() -> None:
    tasks = {
        "article": {"kind": "multiclass", "labels": ["shirt", "belt"], "parents": {"shirt": "top", "belt": "leather"}},
        "kind": {"kind": "multiclass", "labels": ["leather", "top"]},
    }
    plan = plan_of(["single_task", "base"], [Share(1.0, 1, 3)], tasks=tasks, hierarchies=[["article", "kind"]])
    apart, together = plan.runs(plan.variants[0], plan.shares[0], 0), plan.runs(plan.variants[1], plan.shares[0], 0)
    assert [run.config.hierarchies for run in (*apart, *together)] == [(), (), (("article", "kind"),)]
    assert together[0].config.tasks["article"].parents["belt"] == "leather"


def test_a_key_says_what_a_result_was_made_from() -> None:
    def key(variant: str = "base", share: Share = SHARE, seed: int = 0, data: str = "data", **changes: object) -> str:
        plan = make_plan(parse_config(tiny_document(**changes)), [by_name(variant)], [share], data)
        return plan.runs(by_name(variant), share, seed)[0].key

    keys = [
        key(),
        key(seed=1),
        key(share=Share(0.1, 1, 3)),
        key(share=Share(0.05, 1, 4)),
        key(data="other"),
        key(network=tiny_document()["network"] | {"width": 32}),
        key("concat"),
        key("majority"),
        key("tfidf"),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == key()
    assert key(share=Share(0.05, 9, 3)) == key(), "more seeds later leave the first ones alone"


SHARE = Share(0.05, 1, 3)


def test_what_the_base_has_no_use_for_is_left_out_and_said() -> None:
    plan = plan_of(["base", "relation_given", "text_only"])
    assert list(plan.left_out) == ["relation_given"]
    assert "pair" in plan.left_out["relation_given"]
    only = tiny_document()["modalities"]["text"]
    plan = plan_of(["text_only", "image_only"], modalities={"text": only})
    assert list(plan.left_out) == ["image_only"]
    image = tiny_document()["modalities"]["image"]
    assert list(plan_of(["tfidf", "base"], modalities={"image": image}).left_out) == ["tfidf"]
