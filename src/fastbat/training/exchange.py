"""The exchange of an update: from the gradients that each process has of its share of a batch to those of the batch.

    grad = sum_r n_r / n grad_r,    n_r images on process r of n

What changed in the buffers, such as BatchNorm's statistics, is weighted in the same way, and so is what is recorded. So
weights, statistics and records are equal on all processes, bit for bit, after every update. A process without images
adds nothing, and one for whose images the method yields no loss adds statistics alone.

There are two sums: one of a few whole numbers on the hosts, which says what is added up, so that no host waits for its
device; then one of everything on the devices.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastbat.data import Batch
from fastbat.methods import Method
from fastbat.runtime.processes import gathered, summed, world
from fastbat.training.gradients import Key, Sums, gradients, means
from fastbat.training.memory import share_memory


def shared_gradients(
    method: Method, net: nn.Module, batch: Batch, parts: int, noise: Key, recorded: Iterable[str]
) -> dict[str, Tensor]:
    """Do what `gradients` does, for the whole batch on each process.

    What is `recorded` already, by name, need not be asked of the other processes.
    """
    if world() == 1:
        return means(gradients(method, net, batch, parts, noise))
    before = [flat(group, next(net.parameters())) for group in buffers(net)]
    sums = gradients(method, net, batch, parts, noise)
    share_memory(method, batch)
    return exchange(net, before, len(batch.y) / batch.images, sums, recorded)


@dataclass(frozen=True)
class Counts:
    """What the processes have to add up together."""

    has: list[bool]  # for each weight: whether it has a gradient
    images: dict[str, int]  # images for which there is the loss, and whatever else was measured


def exchange(
    net: nn.Module, before: Sequence[Tensor], share: float, sums: Sums, recorded: Iterable[str]
) -> dict[str, Tensor]:
    """Let gradients and buffers be those of the whole batch, of which this process had a `share`; return the means."""
    weights, counts = list(net.parameters()), counted(net, sums, recorded)
    weights = [weight for weight, has in zip(weights, counts.has, strict=True) if has]
    for weight in weights:
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    grads, groups = [weight.grad for weight in weights if weight.grad is not None], buffers(net)
    mine = sums["loss"][1] / counts.images["loss"] if sums else 0.0
    zero = next(net.parameters()).new_zeros(())
    rows = [
        mine * flat(grads, zero),
        *(share * (flat(group, zero) - was) for group, was in zip(groups, before, strict=True)),
        flat([sums[name][0].to(zero.device) if name in sums else zero for name in counts.images], zero),
    ]
    total, *changes, values = summed(torch.cat(rows)).split([len(row) for row in rows])
    put(total, grads)
    for group, was, change in zip(groups, before, changes, strict=True):
        put(was + (change if was.is_floating_point() else change.round().to(was.dtype)), group)
    return {name: value / n for (name, n), value in zip(counts.images.items(), values.unbind(), strict=True)}


def counted(net: nn.Module, sums: Sums, recorded: Iterable[str]) -> Counts:
    """Return what any process has; one with something that nobody knew of makes all of them ask."""
    names, has = sorted({"loss", *recorded}), [weight.grad is not None for weight in net.parameters()]
    while True:
        unknown = not sums.keys() <= set(names)
        images = [sums[name][1] if name in sums else 0 for name in names]
        new, *total = summed(torch.tensor([unknown, *has, *images], dtype=torch.int64)).tolist()
        if not new:
            there = {name: count for name, count in zip(names, total[len(has) :], strict=True) if count}
            return Counts([bool(count) for count in total[: len(has)]], there)
        names = sorted({name for each in gathered([*names, *sums]) for name in each})


def buffers(net: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the buffers of `net` that are floating point, and those that count."""
    every = list(net.buffers())
    return [each for each in every if each.is_floating_point()], [
        each for each in every if not each.is_floating_point()
    ]


def flat(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return all numbers of `tensors` in one row, on the device of `like`."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors]) if tensors else like.new_zeros(0)


def put(row: Tensor, tensors: Sequence[Tensor]) -> None:
    """Write a row as `flat` returns it back to `tensors`."""
    if tensors:
        parts = row.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [part.view_as(each) for part, each in zip(parts, tensors, strict=True)])
