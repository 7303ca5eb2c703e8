"""Batches of an epoch: order from (seed, epoch), augmentation from (seed, step)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fastbat.data.batch import Batch, View
from fastbat.data.images import Images
from fastbat.randomness import generator


@dataclass(frozen=True)
class Loader:
    """Cuts `images` into batches, in a new order each epoch.

    The last batch may be smaller; a single image left over joins the batch before it, since BatchNorm has no statistics
    of one value.
    """

    images: Images
    batch_size: int
    seed: int
    pad: int = 0
    flip: bool = False

    def __len__(self) -> int:
        return len(self._sizes())

    def _sizes(self) -> list[int]:
        whole, rest = divmod(len(self.images), self.batch_size)
        if rest == 1 and whole:
            return [self.batch_size] * (whole - 1) + [self.batch_size + 1]
        return [self.batch_size] * whole + [rest] * (rest > 0)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch `number` (from 0), on the device the images are on."""
        device = self.images.pixels.device
        order = torch.from_numpy(generator(self.seed, "order", number).permutation(len(self.images)))
        for i, index in enumerate(order.split(self._sizes())):
            rng = generator(self.seed, "augment", number * len(self) + i)
            view = View.draw(rng, len(index), self.pad, self.flip)
            index = index.to(device)
            pixels = view.apply(self.images.pixels[index])
            yield Batch(pixels.float() / 255, self.images.labels[index], index, view)
