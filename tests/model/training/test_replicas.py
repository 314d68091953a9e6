"""Replicas: however many threads share a batch, it has one gradient."""

from __future__ import annotations

import copy
import math
import threading

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.data.dataset import Dataset
from model.network import Network
from model.training import replicas as module
from model.training.batch_norm import synchronised_batch_norm
from model.training.batches import BatchMaker, TrainingBatch
from model.training.criterion import Criterion
from model.training.exchange import Exchange, Party
from model.training.losses import label_count, task_loss
from model.training.objective import Work, objective, plan
from model.training.replicas import Replicas, replica_count
from model.training.trainer import train_tokenizers


@pytest.fixture(scope="module")
def maker(dataset: Dataset) -> BatchMaker:
    return BatchMaker(dataset.config, dataset.splits["train"], train_tokenizers(dataset.config, dataset))


@pytest.fixture
def network(dataset: Dataset, maker: BatchMaker) -> Network:
    torch.manual_seed(0)
    sizes = {name: tokenizer.vocab_size for name, tokenizer in maker.tokenizers.items()}
    relation = torch.ones(len(dataset.config.tasks), len(dataset.config.tasks)).fill_diagonal_(0)
    return Network(dataset.config, sizes, relation).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def gappy(maker: BatchMaker, rows: int = 61, thinned: bool = False) -> TrainingBatch:
    """A batch in which pictures, titles and labels are missing, unevenly; `thinned`: seen twice, with words lost."""
    batch = maker.make(np.arange(rows), np.random.default_rng(0) if thinned else None)
    batch.present[1 : rows // 3, 0] = False
    batch.present[rows // 2 : rows // 2 + 5, 1] = False
    if batch.thinned is not None:
        batch.thinned.present &= batch.present
        # Who has no picture keeps what is left of the title, as the maker would have it.
        batch.thinned.present[:, 1] |= batch.present[:, 1] & ~batch.present[:, 0]
    batch.targets["colour"][: rows // 2] = -1
    batch.targets["tags"][::3] = math.nan
    batch.targets["size"][5:30] = math.nan
    return batch


def by_hand(network: Network, maker: BatchMaker, work: Work) -> Tensor:
    """The objective as decision 0002 tells it, one pass for each way to see the samples."""
    config, batch = maker.config, work.batch

    def mean(raw: dict[str, Tensor], rows: Tensor, of: Tensor | None = None) -> Tensor:
        """The mean over the labels of `rows`, or their sum over the number of labels of other rows."""
        losses = []
        for name, task in config.tasks.items():
            loss = task_loss(task, raw[name][rows], batch.targets[name][rows], 0.05)
            if of is not None:
                loss = loss * label_count(batch.targets[name], rows) / label_count(batch.targets[name], of)
            losses.append(loss)
        return torch.stack(losses).mean()

    assert work.kept is not None
    everything = torch.ones(len(work.kept), dtype=torch.bool)
    encoded = second = network.encode(batch.inputs, batch.present)
    if batch.thinned is not None:
        second = network.encode(batch.inputs | batch.thinned.inputs, batch.thinned.present)
    loss = 0.5 * mean(network.decode(encoded)[0], everything)
    loss = loss + 0.5 * mean(network.decode(second.narrowed(work.kept))[0], everything)
    for column, (name, raw) in enumerate(network.alone(encoded).items()):
        has = batch.present[:, column]
        if batch.thinned is None or name not in batch.thinned.inputs:
            loss = loss + 0.3 * mean(raw, has)
        else:
            fewer = mean(network.alone(second)[name], batch.thinned.present[:, column], of=has)
            loss = loss + 0.3 * (0.5 * mean(raw, has) + 0.5 * fewer)
    return loss + config.relation.penalty * network.task_relation.penalty()


@pytest.mark.parametrize("thinned", [False, True])
def test_the_objective_is_the_sum_that_it_is_said_to_be(network: Network, maker: BatchMaker, thinned: bool) -> None:
    network.eval()
    batch = gappy(maker, thinned=thinned)
    assert (batch.thinned is not None) is thinned
    work = plan(maker.config, batch)
    expected = by_hand(network, maker, work)
    torch.testing.assert_close(objective(network, maker.config, work, Criterion(maker.config)), expected)
    parts = [objective(network, maker.config, part, Criterion(maker.config)) for part in work.parts(3)]
    torch.testing.assert_close(torch.stack(parts).sum(), expected)


@pytest.mark.parametrize(
    ("count", "weighting"),
    [(1, "equal"), (2, "equal"), (3, "equal"), (3, "uncertainty"), (2, "upgrad"), (3, "mgda"), (2, "pcgrad")],
)
def test_the_gradient_and_the_statistics_are_those_of_the_whole_batch(
    network: Network, maker: BatchMaker, count: int, weighting: str
) -> None:
    training = maker.config.training.model_copy(update={"task_weighting": weighting})
    config = maker.config.model_copy(update={"training": training})
    network.double()
    alone = copy.deepcopy(network).train()
    batch = gappy(maker)
    criteria = [Criterion(config).double() for _ in range(2)]
    torch.manual_seed(1)
    expected = objective(alone, config, plan(config, batch), criteria[0])
    expected.backward()
    torch.manual_seed(1)
    with Replicas(network, config, criteria[1], count) as replicas:
        loss = replicas.gradients(batch, half=False, seed=(0,))
    torch.testing.assert_close(loss, expected.detach())
    found = [*network.named_parameters(), *criteria[1].named_parameters()]
    for one, (name, two) in zip([*alone.parameters(), *criteria[0].parameters()], found, strict=True):
        assert one.grad is not None
        assert two.grad is not None
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-7, msg=lambda text, n=name: f"{n}: {text}")
    for one, two in zip(alone.buffers(), network.buffers(), strict=True):
        torch.testing.assert_close(two, one)


def test_two_threads_repeat_themselves_bit_for_bit(network: Network, maker: BatchMaker) -> None:
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.1
    batch = gappy(maker)
    found = []
    with Replicas(network, maker.config, Criterion(maker.config), 2) as replicas:
        for seed in (1, 1, 2):
            network.zero_grad(set_to_none=True)
            torch.manual_seed(0)
            replicas.gradients(batch, half=True, seed=(seed,))
            found.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))


def test_copies_see_what_the_optimizer_writes(network: Network, maker: BatchMaker) -> None:
    batch = gappy(maker)
    with Replicas(network, maker.config, Criterion(maker.config), 2) as replicas:
        torch.manual_seed(0)
        before = replicas.gradients(batch, half=False, seed=(0,))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.5)
        torch.manual_seed(0)
        after = replicas.gradients(batch, half=False, seed=(0,))
        torch.manual_seed(0)
        whole = objective(network.train(), maker.config, plan(maker.config, batch), Criterion(maker.config))
        torch.testing.assert_close(after, whole.detach())
    assert not torch.equal(before, after)


def test_a_part_without_a_modality_that_the_other_has_does_not_wait_for_ever(
    network: Network, maker: BatchMaker
) -> None:
    batch = maker.make(np.arange(40))
    batch.present[:20, 0] = False
    with Replicas(network, maker.config, Criterion(maker.config), 2) as replicas:
        assert bool(torch.isfinite(replicas.gradients(batch, half=False, seed=(0,))))


def test_an_error_in_one_thread_ends_the_step_of_all(
    network: Network, maker: BatchMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = maker.make(np.arange(40))

    def fail(net: Network, config: object, work: object, *rest: object) -> Tensor:
        if net is not network:
            raise MemoryError("no room")
        return objective(net, config, work, *rest)  # type: ignore[arg-type]

    with Replicas(network, maker.config, Criterion(maker.config), 2) as replicas:
        with monkeypatch.context() as patch:
            patch.setattr(module, "objective", fail)
            with pytest.raises(MemoryError, match="no room"):
                replicas.gradients(batch, half=False, seed=(0,))
        assert bool(torch.isfinite(replicas.gradients(batch, half=False, seed=(0,))))


def test_threads_end_with_the_replicas_and_the_setting_stays(network: Network, maker: BatchMaker) -> None:
    before, threads = threading.active_count(), torch.get_num_threads()
    with Replicas(network, maker.config, Criterion(maker.config), 3):
        assert threading.active_count() == before + 3
        assert torch.get_num_threads() == threads
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("threads", "batch_size", "count"), [(1, 128, 1), (2, 128, 2), (2, 63, 1), (16, 128, 4), (4, 2, 1)]
)
def test_small_batches_are_not_cut_up(threads: int, batch_size: int, count: int) -> None:
    assert replica_count(threads, batch_size) == count


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_are_normalised_as_the_whole(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(10, 5, 4, 3, generator=generator) * 2 + 1).to(dtype).to(memory_format=torch.channels_last)
    outward = torch.randn(10, 5, 4, 3, generator=generator).to(dtype).to(memory_format=torch.channels_last)
    weight, bias = torch.rand(5, generator=generator) + 0.5, torch.randn(5, generator=generator)
    whole = [t.clone().requires_grad_() for t in (x, weight, bias)]
    mean, var = torch.zeros(5), torch.ones(5)
    y = functional.batch_norm(whole[0], mean, var, whole[1], whole[2], training=True, momentum=0.3)
    expected = torch.autograd.grad(y, whole, outward)
    exchange, cut = Exchange(2), (slice(0, 7), slice(7, 10))
    statistics = [(torch.zeros(5), torch.ones(5)) for _ in cut]
    found: list[tuple[Tensor, ...]] = [()] * 2

    def work(rank: int) -> None:
        own = [t.clone().requires_grad_() for t in (x[cut[rank]], weight, bias)]
        part = synchronised_batch_norm(*own, *statistics[rank], 0.3, 1e-5, Party(exchange, rank))
        found[rank] = (part, *torch.autograd.grad(part, own, outward[cut[rank]]))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 4e-2}
    torch.testing.assert_close(torch.cat([part[0] for part in found]), y, **close)
    torch.testing.assert_close(torch.cat([part[1] for part in found]), expected[0], **close)
    torch.testing.assert_close(found[0][2] + found[1][2], expected[1], **close)
    torch.testing.assert_close(found[0][3] + found[1][3], expected[2], **close)
    torch.testing.assert_close(statistics[0], (mean, var))
    torch.testing.assert_close(statistics[1], (torch.zeros(5), torch.ones(5)))
