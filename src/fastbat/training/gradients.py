"""The gradients of one update: those of a method's losses on a batch, whole or in parts that share it by size.

    grad = sum_i n_i / n grad_i,    n_i images in part i of n

The gradients are weighted, not the losses, for methods read some off their losses. A part for which the method yields
no loss is left out of n. The parts together draw the noise of the whole batch; what a network draws, as for dropout,
each draws for itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from fastbat.data import Batch
from fastbat.methods import Method
from fastbat.randomness import drawn_for_whole, seed_torch
from fastbat.training.alarm import InputGradients

Key = tuple[int | str, ...]  # of random numbers
Sums = dict[str, tuple[Tensor, int]]  # of means times images, and over how many images


def gradients(method: Method, net: nn.Module, batch: Batch, parts: int, noise: Key) -> Sums:
    """Leave the gradients in the weights of `net`; return sums of the loss and of what was measured, on the device.

    Nothing is returned, and no gradient left, if the method yields no loss. The key `noise` is that of the update.
    """
    found: Sums = {}
    cut, before, images = [part for part in batch.split(parts) if len(part.y)], 0, 0
    for part in cut:
        losses, seen = list[Tensor](), InputGradients(part.x.shape)
        with seeded(part, noise), seen.of(net) if method.eps else nullcontext():
            for loss in method.losses(net, part):
                if before and not losses:
                    weigh(net, before / len(part.y))
                loss.backward()
                losses.append(loss.detach())
        if losses:
            before = len(part.y)
            images += before
            if (alignment := seen.alignment) is not None:
                part.log["pert_align"] = alignment
            for name, value in {"loss": torch.stack(losses).mean(), **part.log}.items():
                add(found, name, value, before)
    if len(cut) > 1 and images:
        weigh(net, before / images)
    return found


@contextmanager
def seeded(part: Batch, key: Key) -> Iterator[None]:
    """Seed torch from `key` for a whole batch; for a part of it, too, its noise being rows of the whole batch's."""
    share = part.share
    if share is None or share.complete:
        seed_torch(*key)
        yield
        return
    seed_torch(*key, "part", int(share.place[0]))
    with drawn_for_whole(share.whole, share.place, *key):
        yield


def weigh(net: nn.Module, share: float) -> None:
    """Multiply the gradients that have come together so far."""
    for weight in net.parameters():
        if weight.grad is not None:
            weight.grad.mul_(share)


def add(sums: Sums, name: str, value: Tensor, images: int) -> None:
    """Add a mean over so many images to its sum."""
    so_far, count = sums.get(name, (torch.zeros_like(value), 0))
    sums[name] = so_far + images * value, count + images


def means(sums: Sums) -> dict[str, Tensor]:
    """Return the mean of each sum over the images that have it."""
    return {name: value / images for name, (value, images) in sums.items()}
