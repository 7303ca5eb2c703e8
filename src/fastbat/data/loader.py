"""Batches of an epoch: order from (seed, epoch), augmentation from (seed, step).

Both are drawn for the whole batch, whatever share of it a process has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastbat.data.batch import Batch, LoadedBatch, View
from fastbat.data.cards import Phase
from fastbat.data.images import Images, sent, unit
from fastbat.data.share import ALONE, Share, Shares
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
    shares: Shares = ALONE  # of each batch; what the other processes have is not decoded

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

    def parts(self, number: int) -> tuple[Tensor, ...]:
        """Return the images of each whole batch of epoch `number` (from 0)."""
        order = torch.from_numpy(generator(self.seed, "order", number).permutation(len(self.images)))
        return order.tensor_split(tuple(self.cuts(number)))

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's share of the batches of epoch `number` (from 0) from batch `start` on, on its device."""
        images, first = self.images, self.steps(number) + start
        parts = self.parts(number)[start:]
        shares = [self.shares.of(part) for part in parts]
        mine = [part[share.place] for part, share in zip(parts, shares, strict=True)]
        if isinstance(images, Images):
            made: Iterator[tuple[Tensor, View | None]] = self.views(images, mine, shares, first)
        else:
            decoder = Decoder(images.encoded, self.seed, first, self.phase(number), self.flip)
            places = [share.place for share in shares]
            made = ((pixels, None) for pixels in images.read(mine, places, decoder))
        for index, share, (pixels, view) in zip(mine, shares, made, strict=True):
            device = images.labels.device
            y = images.labels[sent(index, device)]
            yield LoadedBatch(unit(sent(pixels, device)), y, index, view, share=share)

    def views(
        self, images: Images, parts: Sequence[Tensor], shares: Sequence[Share], first: int
    ) -> Iterator[tuple[Tensor, View | None]]:
        """Yield the augmented pixels of each part, and their view; the first part belongs to step `first`."""
        for step, (index, share) in enumerate(zip(parts, shares, strict=True), first):
            view = View.draw(generator(self.seed, "augment", step), share.whole, self.pad, self.flip, self.rotation)
            view = view.rows(share.place)
            yield view.apply(images.pixels[sent(index, images.pixels.device)]), view
