"""Which images of a batch a process trains on, of P processes: that of rank r has, by `by`,

    place    those at the places r, r + P, ... of the batch
    image    the images r, r + P, ... of the data set, wherever they come in the batch
    any      as by place; in a small batch fewer processes have images, for none is to have a single one

A method whose memory belongs to places or images is given them in that way, so that each process remembers its own.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Where the images of a part of a batch are in the whole of it, and which processes have images of that part."""

    place: Tensor  # (B,) int64, ascending, of the images that this process has; on the host
    whole: int  # images of the whole batch
    owners: Tensor  # (n,) int64, the rank of the process of each image of the part

    @staticmethod
    def alone(images: int) -> "Share":
        """Return the share of a process that has the whole batch."""
        return Share(torch.arange(images), images, torch.zeros(images, dtype=torch.int64))

    @property
    def complete(self) -> bool:
        """Whether it is the whole batch."""
        return len(self.place) == self.whole

    def cut(self, parts: int) -> list[tuple[slice, "Share"]]:
        """Return which of this process's images are in each part of a whole batch, and the parts' shares.

        The parts are of nearly one size, and fewer than `parts` lest a process have a single image (BatchNorm).
        """
        counts = self.owners.bincount()
        parts = max(1, min(parts, int(counts[counts > 0].min()) // 2))
        cuts = [round(i * self.whole / parts) for i in range(parts + 1)]
        mine = torch.searchsorted(self.place, torch.tensor(cuts)).tolist()
        return [
            (slice(*these), Share(self.place[slice(*these)], self.whole, self.owners[slice(*part)]))
            for these, part in zip(pairwise(mine), pairwise(cuts), strict=True)
        ]

    def has_single(self, parts: int) -> bool:
        """Say whether a process has a single image of one of so many parts."""
        return any(bool((part.owners.bincount() == 1).any()) for _, part in self.cut(parts))


@dataclass(frozen=True)
class Shares:
    """How the images of each batch are shared out, and what this process has of them."""

    rank: int = 0
    processes: int = 1
    by: Literal["any", "place", "image"] = "any"

    def of(self, index: Tensor) -> Share:
        """Return this process's share of a batch of the images `index` (N,) of the data set."""
        owners = self.owners(index)
        return Share((owners == self.rank).nonzero().flatten(), len(index), owners)

    def owners(self, index: Tensor) -> Tensor:
        """Return the rank of the process of each image (N,)."""
        if self.by == "image":
            return index % self.processes
        few = max(1, len(index) // 2) if self.by == "any" else self.processes
        return torch.arange(len(index)) % min(self.processes, few)


ALONE = Shares()
