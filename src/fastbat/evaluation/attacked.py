"""What an evaluation hands through: a model as it decides and as attacks climb it, and the images it is attacked on.

exact      decides: the model itself, in its own precision
climbed    what attacks climb: pixels at 0 and 1 a hair inside, the mean of several passes where it is random
fast       the same in bf16 where that is fast, else climbed itself
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fastbat.attacks import Inside
from fastbat.data import unit


@dataclass(frozen=True)
class AttackedModel:
    """A model in eval mode, its weights constant, from images (B, C, H, W) in [0, 1] to logits (B, K)."""

    exact: nn.Module
    climbed: nn.Module
    fast: nn.Module

    @staticmethod
    def of(model: nn.Module) -> "AttackedModel":
        """Return `model`, searched in its own precision."""
        inside = Inside(model)
        return AttackedModel(model, inside, inside)

    def precise(self) -> "AttackedModel":
        """Return the same, searched in its own precision."""
        return replace(self, fast=self.climbed)


@dataclass(frozen=True)
class TestImages:
    """Images and labels as they are stored; what is asked for comes as floats, where the model is."""

    __test__ = False  # for pytest: this is no test

    x: Tensor  # (N, C, H, W) in [0, 1], or bytes
    y: Tensor  # (N,)
    device: torch.device

    @staticmethod
    def of(x: Tensor, y: Tensor, model: nn.Module) -> "TestImages":
        """Return the images for `model`."""
        return TestImages(x, y, first_device(model, x))

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return the images `index` as floats in [0, 1], and their labels, on the device."""
        return unit(self.x[index].to(self.device)), self.y[index].to(self.device)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all of them, `size` at a time."""
        return (self.batch(slice(start, start + size)) for start in range(0, len(self), size))


def first_device(model: nn.Module, x: Tensor) -> torch.device:
    """Return the device of the model's first weight or buffer; x's where it has none."""
    return next(itertools.chain(model.parameters(), model.buffers()), x).device
