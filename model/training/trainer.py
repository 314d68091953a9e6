"""The training loop: a data set and a config in, a bundle out."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from model.calibration import pattern_key
from model.config import Config, TextModality
from model.data.dataset import Dataset
from model.inference import run_patterns
from model.metrics import measure, score
from model.network import Network
from model.network.encoders import Encoder, backbone_tokenizer
from model.network.heads import activate
from model.network.multi_model import FUSED
from model.preprocess import TextTokenizer
from model.training import relation
from model.training.batches import BatchMaker, shrink_pictures
from model.training.checkpoint import Checkpoints, ResumeError
from model.training.criterion import Criterion
from model.training.ema import EMA
from model.training.learner import Learner
from model.training.objective import objective, plan
from model.training.optimizer import Optimizer
from model.training.precision import choose_precision

# Gradient affinity: training steps before the tasks' gradients say something, and batches that they are compared on.
_AFFINITY_STEPS, _AFFINITY_PROBES = 200, 20


class Reporter(Protocol):
    """Who hears how a run goes."""

    def step(self, epoch: int, done: int, total: int, loss: float, progress: float, seconds: float) -> None:
        """One step was made; `progress` is the share of the whole run, `seconds` its length until now."""

    def epoch(self, record: dict[str, Any]) -> None:
        """One epoch was validated."""

    def note(self, message: str) -> None:
        """Something that the user should know."""


@dataclass
class Trained:
    """What a run made: the best weights and what is needed to turn them into a bundle."""

    network: Network
    relation: list[list[int]]
    tokenizers: dict[str, TextTokenizer]
    history: list[dict[str, Any]]
    provenance: dict[str, Any] = field(default_factory=dict)


class DivergedError(ValueError):
    """A run whose loss became infinite or not a number; the message says what to change."""


class Trainer:
    """One training run on one device."""

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        reporter: Reporter,
        checkpoints: Checkpoints,
        minutes: float | None,
    ) -> None:
        """`minutes` bounds the training time of all resumed parts together; the learning rate ends with it."""
        self.config: Config = dataset.config
        self.dataset = dataset
        self.device = device
        self.reporter = reporter
        self.checkpoints = checkpoints
        self.budget = None if minutes is None else minutes * 60
        torch.manual_seed(self.config.training.seed)
        self.tokenizers = train_tokenizers(self.config, dataset)
        self.train_batches = BatchMaker(self.config, dataset.splits["train"], self.tokenizers)
        self.val_batches = BatchMaker(self.config, dataset.splits["val"], self.tokenizers)
        self.criterion = Criterion(self.config, dataset.splits["train"].labels).to(device)
        self.relation, self.affinity = self._relation()
        self.network = self._start()

    def _start(self) -> Network:
        """A network to train, with its encoders as the config says that they begin."""
        network = self._build(self.relation)
        for encoder in network.encoders:
            assert isinstance(encoder, Encoder)
            encoder.load_pretrained()
        return network

    def _build(self, matrix: list[list[int]]) -> Network:
        torch.manual_seed(self.config.training.seed)
        sizes = {name: tokenizer.vocab_size for name, tokenizer in self.tokenizers.items()}
        network = Network(self.config, sizes, torch.tensor(matrix))
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
        return network

    def _relation(self) -> tuple[list[list[int]], dict[str, Any] | None]:
        """T as the config asks for it, and the affinity that it was estimated from."""
        kind = self.config.relation.kind
        if kind == "none":
            return [[0] * len(self.config.tasks) for _ in self.config.tasks], None
        if kind == "given":
            return relation.given_relation(self.config), None
        if kind == "label_affinity":
            affinity = relation.label_affinity(self.config, self.dataset.splits["train"])
        else:
            affinity = self._gradient_affinity()
        return relation.threshold(affinity, self.config.relation.threshold), relation.describe(
            affinity, self.config.tasks
        )

    def _gradient_affinity(self) -> np.ndarray:
        """Train a network without relations for a while, then compare the tasks' gradients."""
        self.relation = [[0] * len(self.config.tasks) for _ in self.config.tasks]
        self.network = self._start()
        optimizer = Optimizer(self.network, self.config.training)
        size = self.config.training.batch_size
        steps = max(1, min(_AFFINITY_STEPS, len(self.dataset.splits["train"]) // size))
        self.network.train()
        for batch in itertools.islice(self.train_batches.epoch(size, seed=self.config.training.seed), steps):
            optimizer.zero_grad()
            work = plan(self.config, batch.to(self.device))
            objective(self.network, self.config, work, self.criterion).backward()  # type: ignore[no-untyped-call]
            optimizer.step(self.config.training.learning_rate)
        probes = itertools.islice(self.train_batches.epoch(size, seed=self.config.training.seed + 1), _AFFINITY_PROBES)
        return relation.gradient_affinity(self.config, self.network, (batch.to(self.device) for batch in probes))

    def run(self) -> Trained:
        """Train to the end of the epochs, of the time, or of the patience, whichever comes first."""
        with Learner(self.network, self.config, self.criterion, self.device) as learner:
            return self._run(learner)

    def _run(self, learner: Learner) -> Trained:
        training = self.config.training
        optimizer, ema = learner.optimizer, learner.ema
        steps = max(1, math.ceil(len(self.dataset.splits["train"]) / training.batch_size))
        epoch, spent, best, waited = 0, 0.0, -math.inf, 0
        history: list[dict[str, Any]] = []
        best_weights: dict[str, Tensor] = {}
        precision: str | None = None
        tokenizers = {name: tokenizer.to_json() for name, tokenizer in self.tokenizers.items()}
        if (state := self.checkpoints.load(self.device)) is not None:
            if state.get("tokenizers") != tokenizers:
                # Other library versions may learn another vocabulary, which the weights would misread.
                raise ResumeError("the unfinished run has another vocabulary; start anew with --restart")
            self.network.load_state_dict(state["network"])
            learner.criterion.load_state_dict(state["criterion"])
            optimizer.load_state_dict(state["optimizer"])
            ema.values, ema.steps = state["ema"], state["ema_steps"]
            epoch, spent, best, waited = state["epoch"], state["spent"], state["best"], state["waited"]
            history, best_weights = state["history"], state["best_weights"]
            precision = state.get("precision")
            self.reporter.note(f"resumed after epoch {epoch}, {spent / 60:.1f} minutes into the run")
        if history and history[-1]["progress"] >= 1 - 1e-9:
            epoch = training.epochs
        # A resumed run goes on as it began: a trial may come out otherwise on a busier machine.
        precision = precision or self.trial_precision(learner)
        half = precision == "bf16"
        self.reporter.note(f"training in {precision} on {self.device}")
        while epoch < training.epochs and waited < training.patience:
            start = time.perf_counter()
            torch.manual_seed(training.seed * 10_007 + epoch + 1)
            losses = []
            progress = 0.0
            batches = self.train_batches.epoch(training.batch_size, seed=training.seed * 10_007 + epoch)
            for done, cpu_batch in enumerate(batches):
                elapsed = spent + time.perf_counter() - start
                progress = (epoch * steps + done) / (training.epochs * steps)
                if self.budget is not None:
                    progress = max(progress, elapsed / self.budget)
                if progress >= 1:
                    break
                if progress < training.small_image_epochs:
                    cpu_batch = shrink_pictures(cpu_batch, self.config)
                rate = training.learning_rate * schedule(progress, training.warmup)
                loss = learner.step(cpu_batch, half, (training.seed, epoch, done), rate)
                losses.append(loss)
                if done % 10 == 0:
                    self.reporter.step(epoch + 1, done, steps, float(loss), progress, elapsed)
            mean_loss = float(torch.stack(losses).mean()) if losses else float("nan")
            if losses and not math.isfinite(mean_loss):
                raise DivergedError(
                    f"the loss of epoch {epoch + 1} is not a number; lower training.learning_rate, and set "
                    "training.precision to fp32 if it is not"
                )
            epoch += 1
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                record = self._validate(ema)
            if epoch == training.epochs:
                progress = 1.0
            spent += time.perf_counter() - start
            record |= {"epoch": epoch, "loss": mean_loss, "progress": min(progress, 1.0), "seconds": spent}
            history.append(record)
            # While the pictures are small, validation at full size says little.
            if record["score"] > best:
                best, waited = record["score"], 0
                best_weights = {name: value.clone() for name, value in ema.values.items()}
            elif progress >= training.small_image_epochs:
                waited += 1
            self.checkpoints.save(
                {
                    "network": self.network.state_dict(),
                    "criterion": learner.criterion.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "ema": ema.values,
                    "ema_steps": ema.steps,
                    "epoch": epoch,
                    "spent": spent,
                    "best": best,
                    "waited": waited,
                    "precision": precision,
                    "tokenizers": tokenizers,
                    "history": history,
                    "best_weights": best_weights,
                },
                history,
            )
            self.reporter.epoch(record)
            if progress >= 1:
                break
        self.network.load_state_dict(best_weights)
        return Trained(
            self.network.eval(),
            self.relation,
            self.tokenizers,
            history,
            {
                "epochs": len(history),
                "minutes": round(spent / 60, 1),
                "precision": precision,
                "affinity": self.affinity,
            },
        )

    def trial_precision(self, learner: Learner) -> str:
        """What a run trains in, fp32 or bf16: as the config says, or as a trial shows to be faster."""
        rows = np.arange(min(self.config.training.batch_size, len(self.dataset.splits["train"])))
        batch = self.train_batches.make(rows)
        before = {name: value.clone() for name, value in self.network.state_dict().items()}

        def step(half: bool) -> None:
            learner.gradients(batch, half, (self.config.training.seed,))

        chosen = choose_precision(self.config.training, self.device, step)
        self.network.zero_grad(set_to_none=True)
        # The trial moved the running statistics of the normalisation layers.
        self.network.load_state_dict(before)
        return chosen

    def _validate(self, ema: EMA) -> dict[str, Any]:
        """Metrics of the averaged weights on the validation split, per pattern and task."""
        network = self._validator(ema)
        split = self.dataset.splits["val"]
        metrics: dict[str, dict[str, dict[str, Any]]] = {}
        for pattern, output in run_patterns(network, self.val_batches).items():
            metrics[pattern_key(pattern)] = {
                name: measure(
                    task,
                    activate(task, torch.from_numpy(output.raw[FUSED][name])).numpy(),
                    split.labels[name][output.rows],
                )
                for name, task in self.config.tasks.items()
            }
        values = [score(self.config.tasks[n], m) for tasks in metrics.values() for n, m in tasks.items()]
        return {"metrics": metrics, "score": float(np.mean(values)) if values else 0.0}

    def _validator(self, ema: EMA) -> Network:
        network = self._build(self.relation)
        network.load_state_dict(ema.values)
        return network.eval()


def train_tokenizers(config: Config, dataset: Dataset) -> dict[str, TextTokenizer]:
    """A tokenizer a text modality: its backbone's, or one learned from the training split."""
    return {
        name: backbone_tokenizer(modality)
        if modality.tokenizer == "backbone"
        else TextTokenizer.train([text for text in dataset.splits["train"].texts[name] if text], modality)
        for name, modality in config.modalities.items()
        if isinstance(modality, TextModality)
    }


def schedule(progress: float, warmup: float) -> float:
    """Linear warm-up, then a cosine to zero, by the share of the run that is done."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
