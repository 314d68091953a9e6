"""What a network must beat: the most frequent answer, and a linear model of the words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression, Ridge  # type: ignore[import-untyped]

from model.calibration import patterns_of
from model.config import Config, Task, TextModality
from model.data.dataset import Dataset, Split
from model.data.labels import Labels
from model.metrics import labelled_rows, measure
from model.preprocess import label_words, mask_words
from model.setups import setup_name

Results = dict[str, dict[str, dict[str, Any]]]
Floats = NDArray[np.floating[Any]]
# Less regularisation than the library's default, as suits many sparse features that are all below 1.
_C = 10.0


def majority(dataset: Dataset, masked_words: frozenset[str] | None) -> tuple[Results, int]:
    """Measure the training rows' most frequent answer in every way to ask; returns the results and 0 parameters."""
    config, train, test = dataset.config, dataset.splits["train"], dataset.splits["test"]
    constant = {name: _constant(task, train.labels[name]) for name, task in config.tasks.items()}
    results: Results = {}
    for masked in (False, True):
        present = test.present.copy()
        for column, name in enumerate(config.modalities):
            if name in test.texts:
                present[:, column] = [bool(text) for text in _texts(config, test, name, masked, masked_words)]
        for pattern in patterns_of(config):
            rows = np.flatnonzero(present[:, [list(config.modalities).index(name) for name in pattern]].all(axis=1))
            results.setdefault(
                setup_name(config, pattern, masked),
                {
                    name: measure(task, np.tile(constant[name], (len(rows), 1)), test.labels[name][rows])
                    for name, task in config.tasks.items()
                },
            )
    return results, 0


def tfidf(dataset: Dataset, masked_words: frozenset[str] | None) -> tuple[Results, int]:
    """Measure logistic regression on TF-IDF of one and two words; returns the results and the number of its weights.

    It is fitted on whole texts and asked about whole and masked ones, since it reads nothing else.
    """
    config, train, test = dataset.config, dataset.splits["train"], dataset.splits["test"]
    pattern = tuple(name for name, modality in config.modalities.items() if isinstance(modality, TextModality))
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
    seen = vectorizer.fit_transform(_joined(config, train, pattern, False, None))
    asked = {}
    for masked in (False, True):
        texts = _joined(config, test, pattern, masked, masked_words)
        rows = np.array([row for row, text in enumerate(texts) if text], dtype=np.int64)
        asked[setup_name(config, pattern, masked)] = rows, vectorizer.transform([texts[row] for row in rows])
    results: Results = {setup: {} for setup in asked}
    parameters = 0
    for name, task in config.tasks.items():
        rows = np.flatnonzero(labelled_rows(task, train.labels[name]))
        answer, size = _fit(task, seen[rows], train.labels[name][rows])
        parameters += size
        for setup, (test_rows, features) in asked.items():
            results[setup][name] = measure(task, answer(features), test.labels[name][test_rows])
    return results, parameters


def _constant(task: Task, labels: Labels) -> Floats:
    """The one answer [C] that is right most often, or the mean of numbers."""
    known = labels[labelled_rows(task, labels)]
    if task.kind == "regression":
        return np.array([known.mean()])
    if task.kind == "multilabel":
        return np.asarray((known > 0.5).mean(axis=0))
    counts = np.bincount(known.astype(np.int64), minlength=len(task.labels))
    return counts[1:] / counts.sum() if task.kind == "binary" else np.asarray(counts / counts.sum())


def _fit(task: Task, features: Any, labels: Labels) -> tuple[Callable[[Any], Floats], int]:
    """Fit one task on sparse features [n, F]: what answers [m, C] for others, and the number of weights."""
    if task.kind == "regression":
        model = Ridge(alpha=1.0).fit(features, labels)
        return lambda x: np.asarray(model.predict(x)[:, None]), model.coef_.size
    if task.kind == "multilabel":
        parts = [_classifier(features, labels[:, column] > 0.5) for column in range(labels.shape[1])]
        return lambda x: np.stack([part(x)[:, -1] for part, _ in parts], axis=1), sum(size for _, size in parts)
    predict, size = _classifier(features, labels.astype(np.int64), len(task.labels))
    return (lambda x: predict(x)[:, 1:]) if task.kind == "binary" else predict, size


def _classifier(features: Any, labels: NDArray[Any], classes: int = 2) -> tuple[Callable[[Any], Floats], int]:
    """Probabilities [m, classes]; a class without a training row has none."""
    found = np.unique(labels).astype(np.int64)
    if len(found) == 1:
        alone = np.zeros(classes)
        alone[found] = 1.0
        return lambda x: np.tile(alone, (x.shape[0], 1)), 0
    model = LogisticRegression(C=_C, max_iter=200).fit(features, labels)

    def predict(x: Any) -> Floats:
        result = np.zeros((x.shape[0], classes))
        result[:, found] = model.predict_proba(x)
        return result

    return predict, model.coef_.size


def _joined(
    config: Config, split: Split, names: tuple[str, ...], masked: bool, masked_words: frozenset[str] | None
) -> list[str]:
    columns = [_texts(config, split, name, masked, masked_words) for name in names]
    return [" ".join(parts).strip() for parts in zip(*columns, strict=True)]


def _texts(config: Config, split: Split, name: str, masked: bool, masked_words: frozenset[str] | None) -> list[str]:
    """A modality's texts, without the words that name a label where `masked`."""
    if not masked:
        return split.texts[name]
    modality = config.modalities[name]
    assert isinstance(modality, TextModality)
    words = label_words(config, modality.label_words) if masked_words is None else masked_words
    return [mask_words(text, words) for text in split.texts[name]]
