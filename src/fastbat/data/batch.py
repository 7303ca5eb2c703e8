"""A batch, and the crop, flip and rotation that make it from the stored images."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fastbat.data.batch_check import check_batch
from fastbat.data.images import sent
from fastbat.data.share import Share
from fastbat.errors import InputError
from fastbat.runtime.processes import rank, summed_among


@dataclass(frozen=True)
class View:
    """One random crop and flip per image of a canvas, the image padded by `pad` on each side; then a rotation."""

    top: Tensor  # (B,) in 0..2 pad
    left: Tensor  # (B,) in 0..2 pad
    flip: Tensor  # (B,) bool
    pad: int
    angle: Tensor | None = None  # (B,) float64, degrees counterclockwise

    @staticmethod
    def draw(rng: np.random.Generator, size: int, pad: int, flip: bool, rotation: float = 0.0) -> "View":
        """Draw `size` views: uniform crops, where `flip` both orientations, angles uniform in -rotation..rotation."""
        return View(
            top=torch.from_numpy(rng.integers(0, 2 * pad + 1, size)),
            left=torch.from_numpy(rng.integers(0, 2 * pad + 1, size)),
            flip=torch.from_numpy(rng.random(size) < 0.5 if flip else np.zeros(size, dtype=bool)),
            pad=pad,
            angle=torch.from_numpy(rng.uniform(-rotation, rotation, size)) if rotation else None,
        )

    def rows(self, which: slice | Tensor) -> "View":
        """Return the views of the images `which`."""
        angle = None if self.angle is None else self.angle[which]
        return View(self.top[which], self.left[which], self.flip[which], self.pad, angle)

    def apply(self, images: Tensor) -> Tensor:
        """Return the views of `images` (B, C, H, W) padded by zeros; same shape and type."""
        windows = self.window(F.pad(images, (self.pad,) * 4))
        return windows if self.angle is None else rotated(windows, self.angle)

    def window(self, canvas: Tensor) -> Tensor:
        """Return the windows (B, C, H, W) of canvases (B, C, H + 2 pad, W + 2 pad)."""
        return self._turned(self._every(canvas)[self._place(canvas.device)])

    def put(self, canvas: Tensor, windows: Tensor) -> None:
        """Write `windows` to their places in the canvases: the inverse of `window`; nothing else is touched."""
        if self.angle is not None:
            raise InputError("a rotated view has no inverse; train with --rotation 0")
        self._every(canvas)[self._place(canvas.device)] = self._turned(windows)

    def _every(self, canvas: Tensor) -> Tensor:
        height, width = (size - 2 * self.pad for size in canvas.shape[2:])
        return canvas.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, tops, lefts, H, W), a view

    def _place(self, device: torch.device) -> tuple[Tensor, slice, Tensor, Tensor]:
        each = torch.arange(len(self.top), device=device)
        return each, slice(None), sent(self.top, device), sent(self.left, device)

    def _turned(self, images: Tensor) -> Tensor:
        return torch.where(sent(self.flip, images.device)[:, None, None, None], images.flip(3), images)


def rotated(images: Tensor, angle: Tensor) -> Tensor:
    """Return `images` (B, C, H, W) turned about their centres by `angle` (B,), degrees counterclockwise.

    The nearest pixel is taken, and 0 from outside, as torchvision's RandomRotation does (PIL's fixed point aside).
    """
    height, width = images.shape[2:]
    cos, sin = (f(angle.deg2rad())[:, None, None] for f in (torch.cos, torch.sin))
    y, x = (torch.arange(side, dtype=torch.float64) + 0.5 - side / 2 for side in (height, width))
    row = (sin * x + cos * y[:, None] + height / 2).floor().long()
    column = (cos * x - sin * y[:, None] + width / 2).floor().long()
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    each, device = torch.arange(len(images))[:, None, None], images.device
    places = (sent(index, device) for index in (each, row.clamp(0, height - 1), column.clamp(0, width - 1)))
    each, row, column = places
    return (images[each, :, row, column] * sent(inside, device)[..., None]).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Batch:
    """What a method trains on.

    Raises InputError for images that are not floating point, not finite or outside [0, 1], and for labels that are not
    class numbers. On a GPU the values of all batches but the first are read without waiting, so a bad one may be
    reported one batch late.
    """

    x: Tensor  # images (B, C, H, W) in [0, 1]
    y: Tensor  # labels (B,), int64
    index: Tensor | None = None  # (B,) int64, each image's place in the data set; on the host
    view: View | None = None  # the crop, flip and rotation that made x
    step: int | None = None  # of the update in the training, from 0
    progress: float | None = None  # the share of the training that is done, in [0, 1)
    label_smoothing: float = 0.0  # of the training loss: this share of each label is spread over all classes
    random_smoothing: bool = False  # spread by new random weights over the other classes, in place of evenly over all
    log: dict[str, Tensor] = field(default_factory=dict, compare=False)  # what a method measures: 0-d tensors by name
    share: Share | None = None  # what it is of the whole batch; None: it is the whole

    def __post_init__(self) -> None:
        check_batch(self.x, self.y)
        for name in ("x", "y"):
            if (tensor := getattr(self, name)).is_inference():  # which autograd cannot save
                object.__setattr__(self, name, tensor.clone())

    @property
    def images(self) -> int:
        """How many images the batch, or this part of it, has on all processes together."""
        return len(self.y) if self.share is None else len(self.share.owners)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a `value` that is one of the images here, over all processes; without a graph.

        For a method that decides by it, or remembers it: then it is the same on all processes. Alone it is `value`.
        """
        ranks = [] if self.share is None else self.share.owners.unique().tolist()
        return value.detach() if len(ranks) < 2 else summed_among(value.detach().clone(), ranks)

    def averaged(self, value: Tensor) -> Tensor:
        """Return the mean over all `images` of a `value` that is a mean over those here, as `total` does the sum."""
        alone = self.images == len(self.y)
        return value.detach() if alone else self.total(len(self.y) * value) / self.images

    def whole(self, rows: Tensor) -> Tensor:
        """Return the rows (n, ...) of all `images`, of which `rows` (B, ...) are those here; these keep their graph."""
        if self.share is None or self.images == len(self.y):
            return rows
        mine = sent((self.share.owners == rank()).nonzero().flatten(), rows.device)
        others = rows.detach().new_zeros(self.images, *rows.shape[1:]).index_copy(0, mine, rows.detach())
        return self.total(others).index_copy(0, mine, rows)

    def split(self, parts: int) -> list["Batch"]:
        """Return the batch in `parts` parts of nearly one size, in fewer lest one be a single image (BatchNorm)."""
        cut = (self.share or Share.alone(len(self.y))).cut(parts)
        return [self] if len(cut) == 1 else [self.rows(which, share) for which, share in cut]

    def rows(self, which: slice, share: Share | None = None) -> "Batch":
        """Return the images `which`, as that `share` of the whole, or as a batch of their own."""
        index = None if self.index is None else self.index[which]
        view = None if self.view is None else self.view.rows(which)
        return replace(self, x=self.x[which], y=self.y[which], index=index, view=view, log={}, share=share)


class LoadedBatch(Batch):
    """A batch of stored images: they were bytes, so that they lie in [0, 1], and nothing is checked."""

    def __post_init__(self) -> None:
        """Leave it at that."""
