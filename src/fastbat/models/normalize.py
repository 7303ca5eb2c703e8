"""The normalisation in front of a network, part of the model, so that images in [0, 1] go in."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """x -> (x - mean) / std, per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise images (B, C, H, W) in [0, 1]; ValueError for another number of channels, which would broadcast."""
        if x.shape[-3] != len(self.mean):
            raise ValueError(f"images of {x.shape[-3]} channels, a model of {len(self.mean)}")
        return (x - self.mean) / self.std
