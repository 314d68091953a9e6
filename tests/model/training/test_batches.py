"""Batches: the same for the same seed, every row once, and a text that lost its words is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.data.dataset import Dataset
from model.training.batches import BatchMaker, TrainingBatch
from model.training.trainer import train_tokenizers


@pytest.fixture(scope="module")
def maker(dataset: Dataset) -> BatchMaker:
    return BatchMaker(dataset.config, dataset.splits["train"], train_tokenizers(dataset.config, dataset))


def same(one: TrainingBatch, two: TrainingBatch) -> bool:
    pairs = [(one.present, two.present), *((v, two.inputs[n]) for n, v in one.inputs.items())]
    pairs += [(v, two.targets[n]) for n, v in one.targets.items()]
    return all(a.shape == b.shape and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) for a, b in pairs)


def test_an_epoch_is_fixed_by_its_seed(maker: BatchMaker) -> None:
    one, two, other = (list(maker.epoch(50, seed)) for seed in (1, 1, 2))
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    assert not any(same(a, b) for a, b in zip(one, other, strict=True))


def test_an_epoch_holds_every_row_once(maker: BatchMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    make = maker.make
    monkeypatch.setattr(maker, "make", lambda rows, *rest: seen.append(rows) or make(rows, *rest))
    batches = list(maker.epoch(50, 1))
    assert [len(batch.present) for batch in batches] == [50] * 6 + [20]
    assert sorted(np.concatenate(seen).tolist()) == list(range(320))


def test_a_last_batch_of_one_is_left_out(maker: BatchMaker) -> None:
    assert [len(batch.present) for batch in maker.epoch(319, 1)] == [319]


def test_an_epoch_that_is_broken_off_leaves_no_thread(maker: BatchMaker) -> None:
    import threading

    before = threading.active_count()
    epoch = maker.epoch(10, 1)
    next(epoch)
    epoch.close()
    assert threading.active_count() == before


def test_without_a_generator_nothing_is_augmented(maker: BatchMaker) -> None:
    rows = np.arange(5)
    batch = maker.make(rows)
    assert np.array_equal(batch.inputs["image"].numpy(), maker.split.images["image"][rows])
    tokens = [maker.tokenizers["text"](maker.split.texts["text"][row]).ids for row in rows]
    assert [row[row > 0].tolist() for row in batch.inputs["text"].numpy()] == [t.tolist() for t in tokens]
    assert bool(batch.present.all())


def test_a_text_that_lost_all_its_words_is_missing(dataset: Dataset, maker: BatchMaker) -> None:
    words = frozenset(word for text in dataset.splits["train"].texts["text"] for word in text.split())
    masked = BatchMaker(dataset.config, dataset.splits["train"], maker.tokenizers, words)
    assert masked.make(np.arange(4), masked=True).present.tolist() == [[True, False]] * 4
    # But not where nothing else would be left.
    split = dataset.splits["train"]
    alone = split.present.copy()
    alone[:, 0] = False
    bare = type(split)(split.ids, split.images, split.texts, alone, split.labels)
    masked = BatchMaker(dataset.config, bare, maker.tokenizers, words)
    assert masked.make(np.arange(4), masked=True).present.tolist() == [[False, True]] * 4


def test_a_batch_holds_whole_texts_and_again_what_lost_words_leave(maker: BatchMaker) -> None:
    rows = np.arange(64)
    plain, batch = maker.make(rows), maker.make(rows, np.random.default_rng(0))
    assert plain.thinned is None
    assert batch.thinned is not None
    assert torch.equal(batch.inputs["text"], plain.inputs["text"])
    thinned = batch.thinned.inputs["text"]
    assert set(batch.thinned.inputs) == {"text"}
    assert thinned.shape == plain.inputs["text"].shape
    changed = (thinned != plain.inputs["text"]).any(1)
    assert torch.equal(changed, batch.thinned.changed)
    assert 10 < int(changed.sum()) < 54
    assert bool(((thinned != 0).sum(1) <= (plain.inputs["text"] != 0).sum(1)).all())


def test_what_loses_all_its_words_is_missing_in_the_second_view_alone(dataset: Dataset, maker: BatchMaker) -> None:
    split = dataset.splits["train"]
    present = split.present.copy()
    present[:32, 0] = False
    short = replace(split, texts={"text": ["red"] * len(split)}, present=present)
    batch = BatchMaker(dataset.config, short, maker.tokenizers).make(np.arange(64), np.random.default_rng(0))
    assert batch.thinned is not None
    assert bool(batch.present[:, 1].all())
    lost = batch.thinned.changed
    assert 5 < int(lost[:32].sum()) < 27
    assert 5 < int(lost[32:].sum()) < 27
    # But not where nothing else would be left.
    assert bool(batch.thinned.present[:32, 1].all())
    assert torch.equal(batch.thinned.present[32:, 1], ~lost[32:])


def test_who_sees_a_sample_once_sees_it_with_words_lost(dataset: Dataset, maker: BatchMaker) -> None:
    training = dataset.config.training.model_copy(update={"modality_dropout": 0.0})
    config = dataset.config.model_copy(update={"training": training})
    once = BatchMaker(config, dataset.splits["train"], maker.tokenizers).make(np.arange(64), np.random.default_rng(0))
    assert once.thinned is None
    twice = maker.make(np.arange(64), np.random.default_rng(0))
    assert twice.thinned is not None
    kept = [row[row > 0].tolist() for row in twice.thinned.inputs["text"].numpy()]
    assert [row[row > 0].tolist() for row in once.inputs["text"].numpy()] == kept
    assert torch.equal(once.present, twice.thinned.present)


def test_masked_texts_have_no_word_that_names_a_label(dataset: Dataset, maker: BatchMaker) -> None:
    batch = maker.make(np.arange(20), masked=True)
    for row in range(20):
        number = dataset.splits["train"].texts["text"][row].split()[-1]
        expected = maker.tokenizers["text"](f"number {number}").ids.tolist()
        assert [i for i in batch.inputs["text"][row].tolist() if i] == expected


def test_in_order_gives_every_row_with_its_number(maker: BatchMaker) -> None:
    rows = [rows for rows, _ in maker.in_order(100)]
    assert np.concatenate(rows).tolist() == list(range(320))
