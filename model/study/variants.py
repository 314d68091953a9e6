"""What is compared, as data: variants of a config, and the ideas that pairs of them decide.

A patch is merged into the base config: a mapping goes deeper, None removes, anything else replaces. A key `kind=image`
or `kind!=regression` stands for every entry whose kind is so. No patch may change how pictures are brought to size:
all runs share the decoded ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Patch = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """One line of the study's tables.

    `method`: a network of the patched config, one such network a task, or a baseline. `beta`: False for the same
    network's answers without the mix of members.
    """

    name: str
    title: str
    patch: Patch = field(default_factory=dict)
    method: Literal["network", "network_per_task", "majority", "tfidf"] = "network"
    beta: bool = True


@dataclass(frozen=True)
class Idea:
    """A claim, and the pairs (with it, without it) of variants that decide it.

    `across`: each variant is asked with all that it reads, whatever the other reads; otherwise both in the same ways.
    """

    title: str
    pairs: tuple[tuple[str, str], ...]
    across: bool = False


def _balance(how: str) -> Patch:
    return {"tasks": {"kind!=regression": {"imbalance": how}}}


def _weighting(how: str) -> Patch:
    return {"training": {"task_weighting": how}}


VARIANTS = (
    Variant("base", "the base config"),
    Variant("majority", "most frequent answer", method="majority"),
    Variant("tfidf", "TF-IDF + logistic regression", method="tfidf"),
    Variant("image_only", "image only", {"modalities": {"kind=text": None}}),
    Variant("text_only", "text only", {"modalities": {"kind=image": None}}),
    Variant("concat", "concatenation", {"network": {"fusion": "concat"}}),
    Variant("alpha", "α fusion", {"network": {"fusion": "alpha"}}),
    Variant("gated", "gated unit", {"network": {"fusion": "gated"}}),
    Variant("cross_attention", "cross-attention", {"network": {"fusion": "cross_attention"}}),
    Variant("cross_modal", "with the cross-modal block", {"network": {"shared_blocks": 1}}),
    Variant("no_cross_modal", "without the cross-modal block", {"network": {"shared_blocks": 0}}),
    Variant(
        "single_task",
        "a network for each task",
        {"relation": {"kind": "none", "pairs": []}},
        method="network_per_task",
    ),
    Variant("relation_none", "T none", {"relation": {"kind": "none"}}),
    Variant("relation_given", "T given", {"relation": {"kind": "given"}}),
    Variant("label_affinity", "T from label affinity", {"relation": {"kind": "label_affinity", "threshold": 0.3}}),
    # Cosines of gradients are smaller than shares of entropy.
    Variant(
        "gradient_affinity", "T from gradient affinity", {"relation": {"kind": "gradient_affinity", "threshold": 0.05}}
    ),
    Variant("no_beta", "without β: the fused network alone", beta=False),
    Variant("no_auxiliary", "without single-input networks", {"training": {"auxiliary_weight": 0.0}}),
    Variant("no_hiding", "without hidden inputs in training", {"training": {"modality_dropout": 0.0}}),
    Variant(
        "no_word_dropout",
        "without lost words in training",
        {"modalities": {"kind=text": {"word_dropout": 0.0, "label_word_dropout": 0.0}}},
    ),
    Variant("equal", "equal task weights", _weighting("equal")),
    Variant("uncertainty", "uncertainty weights", _weighting("uncertainty")),
    Variant("upgrad", "UPGrad", _weighting("upgrad")),
    Variant("mgda", "MGDA", _weighting("mgda")),
    Variant("pcgrad", "PCGrad", _weighting("pcgrad")),
    Variant("muon", "Muon", {"training": {"optimizer": "muon"}}),
    Variant("adamw", "AdamW", {"training": {"optimizer": "adamw"}}),
    Variant("imbalance_none", "nothing against imbalance", _balance("none")),
    Variant("logit_adjustment", "logit adjustment", _balance("logit_adjustment")),
    Variant("class_weights", "class weights", _balance("class_weights")),
)

IDEAS = (
    Idea("A network rather than a linear model of the words", (("base", "tfidf"),), across=True),
    Idea("All inputs rather than one", (("base", "image_only"), ("base", "text_only")), across=True),
    Idea(
        "One network for whatever input is there, rather than one made for it",
        (("base", "image_only"), ("base", "text_only")),
    ),
    Idea(
        "Modality fusion, against concatenation",
        (("alpha", "concat"), ("gated", "concat"), ("cross_attention", "concat")),
    ),
    Idea("The cross-modal block", (("cross_modal", "no_cross_modal"),)),
    Idea("One shared network rather than one a task", (("base", "single_task"),)),
    Idea(
        "Task relation T, against T = none",
        (
            ("relation_given", "relation_none"),
            ("label_affinity", "relation_none"),
            ("gradient_affinity", "relation_none"),
        ),
    ),
    Idea("Multi-model fusion by β", (("base", "no_beta"),)),
    Idea("Single-input networks beside the fused one, in training and in the mix", (("base", "no_auxiliary"),)),
    Idea("Inputs hidden in training", (("base", "no_hiding"),)),
    Idea("Words lost in training", (("base", "no_word_dropout"),)),
    Idea(
        "Task weighting, against equal weights",
        (("uncertainty", "equal"), ("upgrad", "equal"), ("mgda", "equal"), ("pcgrad", "equal")),
    ),
    Idea("Muon for the matrices, against AdamW", (("muon", "adamw"),)),
    Idea(
        "Making up for rare classes",
        (("logit_adjustment", "imbalance_none"), ("class_weights", "imbalance_none")),
    ),
)


def by_name(name: str) -> Variant:
    """The variant of a name. Raises KeyError."""
    return {variant.name: variant for variant in VARIANTS}[name]


def patched(document: Mapping[str, Any], patch: Patch) -> dict[str, Any]:
    """A config document with a patch merged in; neither is changed."""
    result = dict(document)
    for key, change in patch.items():
        for name in _chosen(result, key):
            if change is None:
                result.pop(name, None)
            elif isinstance(change, Mapping) and isinstance(result.get(name), Mapping):
                result[name] = patched(result[name], change)
            else:
                result[name] = dict(change) if isinstance(change, Mapping) else change
    return result


def _chosen(document: Mapping[str, Any], key: str) -> list[str]:
    """The keys of a document that a patch's key stands for."""
    for sign, wanted in (("!=", False), ("=", True)):
        field_name, found, kind = key.partition(sign)
        if found:
            return [name for name, entry in document.items() if (entry[field_name] == kind) is wanted]
    return [key]
