"""Images as they are stored, on disk or on the hub: found, put in order, and opened one by one.

    folder      train/CLASS/*.jpg and test|val|valid|validation/CLASS/*.jpg; the classes are the folders, sorted by name
    parquet     [NAME-]train*.parquet and [NAME-]test|val|valid|validation*.parquet, with an image and a label column
    hub         a data set of images by its name there

What may be sorted by class is put into one order that depends on its length alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastbat.data.columns import Indexed, Rows, Source
from fastbat.data.folders import class_folders
from fastbat.data.picture import picture
from fastbat.data.tables import tables
from fastbat.randomness import generator


@dataclass(frozen=True)
class Encoded:
    """A split whose image i is stored in row order[i]."""

    rows: Rows
    order: NDArray[np.int64]
    labels: NDArray[np.int64]  # (N,), in that order
    classes: tuple[str, ...]  # their names; empty where they have none
    channels: int = 3  # of the images, whatever is stored: 1 or 3

    @staticmethod
    def of(source: Source, image: str | None, label: str | None, channels: int) -> "Encoded":
        """Return the images of `source` in the columns `image` and `label`, or in the usual ones; put in order."""
        found = source.columns(image, label)
        count = len(found.labels)
        order = generator("mixed", count).permutation(count) if source.mixed else np.arange(count)
        return Encoded(found.rows, order, found.labels[order], found.classes, channels)

    def __iter__(self) -> Iterator[tuple[int, Image.Image]]:
        """Yield every i and image i, in the order they are stored in."""
        for i, (name, stored) in zip(self.order.argsort().tolist(), self.rows, strict=True):
            yield i, picture(stored, name, self.channels)

    def open(self, i: int, at_least: int | None = None) -> Image.Image:
        """Return image i; a JPEG may come smaller, but with no side below `at_least` pixels."""
        name, stored = cast(Indexed, self.rows)[int(self.order[i])]
        return picture(stored, name, self.channels, at_least)


def on_disk(folder: Path, name: str | None, mixed: bool, split: str) -> Source | None:
    """Return a split in `folder`, if it is there: folders of classes, or parquet files of the data set `name`."""
    return class_folders(folder, split) or tables(folder, split, name, mixed)
