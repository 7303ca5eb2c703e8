"""Batches of an epoch: order from (seed, epoch), augmentation from (seed, step)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fastbat.data.batch import Batch, LoadedBatch, View
from fastbat.data.cards import Phase
from fastbat.data.images import Images, sent, unit
from fastbat.data.stream import Decoder, ImageSet
from fastbat.randomness import generator


@dataclass(frozen=True)
class Loader:
    """Cuts `images` into batches, in a new order each epoch; with phases, sizes of images and batches follow them.

    The last batch may be smaller; a single image left over joins the batch before it, since BatchNorm has no statistics
    of one value.
    """

    images: ImageSet
    batch_size: int
    seed: int
    pad: int = 0
    flip: bool = False
    rotation: float = 0.0
    phases: tuple[Phase, ...] = ()  # of a stream
    epochs: int = 0  # of the whole training, which the phases share

    @property
    def keeps(self) -> set[str]:
        """What a method with a memory may rely on: one "size" of all images, a "view" that can be undone."""
        if self.phases:
            return {"size"} if len({self.phase(epoch).crop for epoch in range(self.epochs)}) == 1 else set()
        return {"size"} if self.rotation else {"size", "view"}

    def phase(self, epoch: int) -> Phase:
        """Return the phase of epoch `epoch` (from 0)."""
        return next(phase for phase in self.phases if epoch < round(phase.until * self.epochs))

    def cuts(self, epoch: int) -> range:
        """Return where in the epoch's order each of its batches but the first begins."""
        size = max(1, round(self.batch_size * self.phase(epoch).batch)) if self.phases else self.batch_size
        return range(size, max(len(self.images) - (size > 1), size), size)

    def steps(self, epochs: int) -> int:
        """Return the number of batches in the first `epochs` epochs."""
        return sum(len(self.cuts(epoch)) + 1 for epoch in range(epochs))

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch `number` (from 0) from batch `start` on, on the device the images are on."""
        images, first = self.images, self.steps(number) + start
        order = torch.from_numpy(generator(self.seed, "order", number).permutation(len(images)))
        parts = order.tensor_split(tuple(self.cuts(number)))[start:]
        if isinstance(images, Images):
            made: Iterator[tuple[Tensor, View | None]] = self.views(images, parts, first)
        else:
            decoder = Decoder(images.encoded, self.seed, first, self.phase(number), self.flip)
            made = ((pixels, None) for pixels in images.read(parts, decoder))
        for index, (pixels, view) in zip(parts, made, strict=True):
            device = images.labels.device
            yield LoadedBatch(unit(sent(pixels, device)), images.labels[sent(index, device)], index, view)

    def views(self, images: Images, parts: Iterable[Tensor], first: int) -> Iterator[tuple[Tensor, View | None]]:
        """Yield the augmented pixels of each part, and their view; the first part belongs to step `first`."""
        for step, index in enumerate(parts, first):
            rng = generator(self.seed, "augment", step)
            view = View.draw(rng, len(index), self.pad, self.flip, self.rotation)
            yield view.apply(images.pixels[sent(index, images.pixels.device)]), view
