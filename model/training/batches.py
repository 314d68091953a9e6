"""Batches: samples drawn, augmented, tokenised and put side by side, prepared while the network is busy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.config import SMALL_PICTURES, Config, ImageModality, TextModality
from model.data.dataset import Split
from model.preprocess import TextTokenizer, label_words, mask_words, pad_tokens
from model.training.augment import drop_words, vary_pictures

# Batches made before they are asked for.
_AHEAD = 3


@dataclass
class Thinned:
    """A batch's texts once more, with words lost: a second way to see each sample.

    `inputs`: text modality -> token ids, as long as the whole texts' own; `present` bool [B, M]: without the texts that
    lost every word; `changed` bool [B]: whether any text of the sample lost a word.
    """

    inputs: dict[str, Tensor]
    present: Tensor
    changed: Tensor


@dataclass
class TrainingBatch:
    """What one step sees: inputs as `preprocess.Batch` has them, present bool [B, M], targets as `Split` has them.

    `thinned`: what texts are left when words are lost, where a step is to see them beside the whole ones.
    """

    inputs: dict[str, Tensor]
    present: Tensor
    targets: dict[str, Tensor]
    thinned: Thinned | None = None

    def to(self, device: torch.device) -> TrainingBatch:
        """The same batch on a device; copies from pinned memory do not wait."""
        return self._each(lambda value: value.to(device, non_blocking=True))

    def rows(self, start: int, stop: int) -> TrainingBatch:
        """The samples from `start` to before `stop`, without copying them."""
        return self._each(lambda value: value[start:stop])

    def _each(self, change: Callable[[Tensor], Tensor]) -> TrainingBatch:
        thinned = self.thinned
        return TrainingBatch(
            {name: change(value) for name, value in self.inputs.items()},
            change(self.present),
            {name: change(value) for name, value in self.targets.items()},
            None
            if thinned is None
            else Thinned(
                {name: change(value) for name, value in thinned.inputs.items()},
                change(thinned.present),
                change(thinned.changed),
            ),
        )


class BatchMaker:
    """Makes batches of one split's rows."""

    def __init__(
        self,
        config: Config,
        split: Split,
        tokenizers: Mapping[str, TextTokenizer],
        masked_words: frozenset[str] | None = None,
    ) -> None:
        """`masked_words` replaces the words that name a label, which the config gives otherwise."""
        self.config = config
        self.split = split
        self.tokenizers = tokenizers
        self._two_views = config.training.modality_dropout > 0
        self._label_words = {
            name: label_words(config, modality.label_words) if masked_words is None else masked_words
            for name, modality in config.modalities.items()
            if isinstance(modality, TextModality)
        }

    def make(
        self, rows: NDArray[np.int64], generator: np.random.Generator | None = None, masked: bool = False
    ) -> TrainingBatch:
        """Make the batch of the given rows, augmented when there is a generator.

        `masked` takes the words that name a label out of every text.
        """
        inputs: dict[str, Tensor] = {}
        thinned: dict[str, Tensor] = {}
        present = self.split.present[rows].copy()
        left, changed = present.copy(), np.zeros(len(rows), dtype=np.bool_)
        for column, (name, modality) in enumerate(self.config.modalities.items()):
            if isinstance(modality, ImageModality):
                images = np.asarray(self.split.images[name][rows])
                if generator is not None:
                    images = vary_pictures(images, modality, generator)
                inputs[name] = torch.from_numpy(np.ascontiguousarray(images))
                continue
            texts = [self.split.texts[name][row] for row in rows]
            if masked:
                texts = [mask_words(text, self._label_words[name]) for text in texts]
                _lose(present, column, texts)
            elif generator is not None and modality.word_dropout + modality.label_word_dropout > 0:
                fewer = [drop_words(text, modality, self._label_words[name], generator) for text in texts]
                if self._two_views:
                    _lose(left, column, fewer)
                    changed |= [one != other for one, other in zip(fewer, texts, strict=True)]
                    inputs[name], thinned[name] = self._tokens_of(name, modality, texts, fewer)
                    continue
                texts = fewer
                _lose(present, column, texts)
            (inputs[name],) = self._tokens_of(name, modality, texts)
        targets = {name: torch.from_numpy(np.asarray(values[rows])) for name, values in self.split.labels.items()}
        second = Thinned(thinned, torch.from_numpy(left), torch.from_numpy(changed)) if thinned else None
        return TrainingBatch(inputs, torch.from_numpy(present), targets, second)

    def _tokens_of(self, name: str, modality: TextModality, *versions: list[str]) -> list[Tensor]:
        """Versions of the same texts as token ids [B, L], of one length."""
        tokens = [[t.ids for t in self.tokenizers[name].batch(texts)] for texts in versions]
        ids = pad_tokens([row for rows in tokens for row in rows], pad_id=modality.pad_id)
        return list(torch.from_numpy(ids).chunk(len(versions)))

    def epoch(self, batch_size: int, seed: int) -> Iterator[TrainingBatch]:
        """Augmented batches over all rows in a random order that `seed` fixes, made ahead by a thread of their own."""
        generator = np.random.default_rng(seed)
        order = generator.permutation(np.flatnonzero(self.split.present.any(axis=1)))
        # A last batch of one sample has no statistics to normalise by.
        starts = [start for start in range(0, len(order), batch_size) if len(order) - start > 1]
        # One worker: the generator's draws then come in the same order every time.
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as worker:
            ahead: deque[Future[TrainingBatch]] = deque()
            for start in starts:
                ahead.append(worker.submit(self.make, np.sort(order[start : start + batch_size]), generator))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def in_order(self, batch_size: int, masked: bool = False) -> Iterator[tuple[NDArray[np.int64], TrainingBatch]]:
        """Batches of all rows in their own order, not augmented, each with its row numbers."""
        for start in range(0, len(self.split), batch_size):
            rows = np.arange(start, min(start + batch_size, len(self.split)))
            yield rows, self.make(rows, masked=masked)


def _lose(present: NDArray[np.bool_], column: int, texts: list[str]) -> None:
    """Take a text that lost all its words for a missing one, unless nothing else would be left."""
    others = np.delete(present, column, axis=1).any(axis=1)
    present[:, column] &= np.array([bool(text) for text in texts], dtype=np.bool_) | ~others


def shrink_pictures(batch: TrainingBatch, config: Config) -> TrainingBatch:
    """The batch, on the CPU, with pictures at three quarters of their size: cheaper early epochs.

    CUDA has no antialiased resize of uint8.
    """
    inputs = dict(batch.inputs)
    for name, modality in config.modalities.items():
        if isinstance(modality, ImageModality):
            images = inputs[name].permute(0, 3, 1, 2)
            size = (round(modality.height * SMALL_PICTURES), round(modality.width * SMALL_PICTURES))
            small = functional.interpolate(images, size, mode="bilinear", antialias=True)
            inputs[name] = small.permute(0, 2, 3, 1)
    return TrainingBatch(inputs, batch.present, batch.targets, batch.thinned)
