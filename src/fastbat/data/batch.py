"""A batch, and the crop and flip that make it from the stored images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class View:
    """One random crop and flip per image of a padded canvas."""

    top: Tensor  # (B,) in 0..2 pad
    left: Tensor  # (B,) in 0..2 pad
    flip: Tensor  # (B,) bool

    @staticmethod
    def draw(rng: np.random.Generator, size: int, pad: int, flip: bool) -> "View":
        """Draw `size` views, uniform over the crops and, where `flip`, over both orientations."""
        return View(
            top=torch.from_numpy(rng.integers(0, 2 * pad + 1, size)),
            left=torch.from_numpy(rng.integers(0, 2 * pad + 1, size)),
            flip=torch.from_numpy(rng.random(size) < 0.5 if flip else np.zeros(size, dtype=bool)),
        )

    def apply(self, images: Tensor, pad: int) -> Tensor:
        """Return the crops of `images` (B, C, H, W) padded by `pad` zeros on each side; same shape and type."""
        count, _, height, width = images.shape
        device = images.device
        rows = self.top.to(device)[:, None] + torch.arange(height, device=device)
        columns = torch.arange(width, device=device).expand(count, width)
        columns = self.left.to(device)[:, None] + torch.where(self.flip.to(device)[:, None], columns.flip(1), columns)
        each = torch.arange(count, device=device)[:, None, None]
        canvas = F.pad(images, (pad, pad, pad, pad))
        return canvas[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Batch:
    """What a method trains on."""

    x: Tensor  # images (B, C, H, W) in [0, 1]
    y: Tensor  # labels (B,), int64
    index: Tensor | None = None  # (B,) int64, each image's place in the data set
    view: View | None = None  # the crop and flip that made x
