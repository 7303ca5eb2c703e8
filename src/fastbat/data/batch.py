"""A batch, and the crop and flip that make it from the stored images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class View:
    """One random crop and flip per image of a canvas, the image padded by `pad` on each side."""

    top: Tensor  # (B,) in 0..2 pad
    left: Tensor  # (B,) in 0..2 pad
    flip: Tensor  # (B,) bool
    pad: int

    @staticmethod
    def draw(rng: np.random.Generator, size: int, pad: int, flip: bool) -> "View":
        """Draw `size` views, uniform over the crops and, where `flip`, over both orientations."""
        return View(
            top=torch.from_numpy(rng.integers(0, 2 * pad + 1, size)),
            left=torch.from_numpy(rng.integers(0, 2 * pad + 1, size)),
            flip=torch.from_numpy(rng.random(size) < 0.5 if flip else np.zeros(size, dtype=bool)),
            pad=pad,
        )

    def apply(self, images: Tensor) -> Tensor:
        """Return the views of `images` (B, C, H, W) padded by zeros; same shape and type."""
        return self.window(F.pad(images, (self.pad,) * 4))

    def window(self, canvas: Tensor) -> Tensor:
        """Return the windows (B, C, H, W) of canvases (B, C, H + 2 pad, W + 2 pad)."""
        return canvas[self._places(canvas)].permute(0, 3, 1, 2).contiguous()

    def put(self, canvas: Tensor, windows: Tensor) -> None:
        """Write `windows` to their places in the canvases: the inverse of `window`; nothing else is touched."""
        canvas[self._places(canvas)] = windows.permute(0, 2, 3, 1)

    def _places(self, canvas: Tensor) -> tuple[Tensor, slice, Tensor, Tensor]:
        device, (height, width) = canvas.device, (size - 2 * self.pad for size in canvas.shape[2:])
        rows = self.top.to(device)[:, None] + torch.arange(height, device=device)
        columns = torch.arange(width, device=device).expand(len(canvas), width)
        columns = self.left.to(device)[:, None] + torch.where(self.flip.to(device)[:, None], columns.flip(1), columns)
        each = torch.arange(len(canvas), device=device)
        return each[:, None, None], slice(None), rows[:, :, None], columns[:, None, :]


@dataclass(frozen=True)
class Batch:
    """What a method trains on."""

    x: Tensor  # images (B, C, H, W) in [0, 1]
    y: Tensor  # labels (B,), int64
    index: Tensor | None = None  # (B,) int64, each image's place in the data set
    view: View | None = None  # the crop and flip that made x
    label_smoothing: float = 0.0  # of the training loss: this share of each label is spread over all classes
