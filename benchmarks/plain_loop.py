"""A plain PyTorch training loop, as tutorials write it: what `trunkline train` is compared with.

A data set that opens one JPEG file and tokenises one text a sample, a DataLoader that puts them side by side, fp32,
pictures as [C, H, W], AdamW, zero_grad, backward, step. The network, the loss and what augmentation does to a sample
are Trunkline's own; its optimizer, Muon, does more in a step than AdamW.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.config import Config, ImageModality, TextModality
from model.data.dataset import Split
from model.network import Network
from model.preprocess import TextTokenizer, label_words, pad_tokens, pixels
from model.training.augment import drop_words, vary_pictures
from model.training.batches import Thinned, TrainingBatch
from model.training.criterion import Criterion
from model.training.objective import objective, plan

Sample = dict[str, Any]


class PlainDataset(Dataset[Sample]):
    """One sample at a time from the files: `files` modality -> a path a row."""

    def __init__(
        self, config: Config, split: Split, files: dict[str, list[Path]], tokenizers: dict[str, TextTokenizer]
    ) -> None:
        self.config = config
        self.split = split
        self.files = files
        self.tokenizers = tokenizers
        self.words = {
            name: label_words(config, modality.label_words)
            for name, modality in config.modalities.items()
            if isinstance(modality, TextModality)
        }
        self.generator = np.random.default_rng(0)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.split)

    def __getitem__(self, row: int) -> Sample:
        """Open, augment and tokenise one row."""
        present = torch.from_numpy(self.split.present[row].copy())
        sample: Sample = {"present": present, "left": present.clone(), "changed": False, "thinned": {}}
        for name, modality in self.config.modalities.items():
            if isinstance(modality, ImageModality):
                picture = np.zeros((modality.height, modality.width, 3), dtype=np.uint8)
                if self.split.present[row, list(self.config.modalities).index(name)]:
                    with Image.open(self.files[name][row]) as image:
                        picture = pixels(image, modality)
                sample[name] = torch.from_numpy(vary_pictures(picture[None], modality, self.generator)[0])
            else:
                text = self.split.texts[name][row]
                fewer = drop_words(text, modality, self.words[name], self.generator)
                column = list(self.config.modalities).index(name)
                if not fewer and present.sum() > 1:
                    sample["left"][column] = False
                sample["changed"] |= fewer != text
                sample[name] = self.tokenizers[name](text).ids
                sample["thinned"][name] = self.tokenizers[name](fewer).ids
        sample["targets"] = {name: torch.as_tensor(values[row]) for name, values in self.split.labels.items()}
        return sample

    def collate(self, samples: list[Sample]) -> TrainingBatch:
        """Put samples side by side."""
        inputs: dict[str, Tensor] = {}
        thinned: dict[str, Tensor] = {}
        for name, modality in self.config.modalities.items():
            values = [sample[name] for sample in samples]
            if isinstance(modality, ImageModality):
                inputs[name] = torch.stack(values)
            else:
                values += [sample["thinned"][name] for sample in samples]
                ids = torch.from_numpy(pad_tokens(values, pad_id=modality.pad_id))
                inputs[name], thinned[name] = ids.chunk(2)
        targets = {name: torch.stack([sample["targets"][name] for sample in samples]) for name in self.split.labels}
        present, left = (torch.stack([sample[key] for sample in samples]) for key in ("present", "left"))
        changed = torch.tensor([sample["changed"] for sample in samples])
        return TrainingBatch(inputs, present, targets, Thinned(thinned, left, changed) if thinned else None)


class PlainLoop:
    """A network and its data loader, trained a few steps at a time.

    `half` and `channels_last` are the two things that PyTorch's own performance guide advises for a CPU.
    """

    def __init__(
        self, network: Network, dataset: PlainDataset, threads: int, workers: int, half: bool, channels_last: bool
    ) -> None:
        self.config = dataset.config
        self.criterion = Criterion(dataset.config, dataset.split.labels)
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network
        self.threads = threads
        self.half = half
        training = self.config.training
        self.optimizer = torch.optim.AdamW(
            network.parameters(), training.learning_rate, weight_decay=training.weight_decay
        )
        self.loader = DataLoader(
            dataset, training.batch_size, shuffle=True, drop_last=True, num_workers=workers, collate_fn=dataset.collate
        )
        self.batches = self._endless()
        if not channels_last:
            # The encoder takes [H, W, C] bytes; a tutorial's ToTensor would have made [C, H, W] of them.
            for encoder in network.encoders:
                if hasattr(encoder, "stem"):
                    encoder.stem.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))

    def _endless(self) -> Iterator[TrainingBatch]:
        while True:
            yield from self.loader

    def run(self, steps: int) -> float:
        """Take some steps; returns the mean loss."""
        torch.set_num_threads(self.threads)
        self.network.train()
        total = 0.0
        for _ in range(steps):
            batch = next(self.batches)
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                loss = objective(self.network, self.config, plan(self.config, batch), self.criterion)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / steps

    def close(self) -> None:
        """End the loader's processes."""
        self.batches.close()


def fastest(make: Callable[[int, int], PlainLoop], threads: int, most_workers: int, steps: int) -> tuple[int, int]:
    """Threads and worker processes with which a loop takes the least time for some steps."""
    times: dict[tuple[int, int], float] = {}
    for count in sorted({1, threads}):
        for workers in range(most_workers + 1):
            loop = make(count, workers)
            loop.run(1)
            start = time.perf_counter()
            loop.run(steps)
            times[count, workers] = time.perf_counter() - start
            loop.close()
    return min(times, key=lambda key: times[key])
