"""Images as they lie on disk or on the Hugging Face hub: found, and opened one by one.

    folder      train/CLASS/*.jpg and test|val|valid|validation/CLASS/*.jpg; the classes are the folders, sorted by name
    parquet     [NAME-]train*.parquet and [NAME-]test|val|valid|validation*.parquet, with an image and a label column
    hub         a data set of images by its name there

What may be sorted by class is put into one order that depends on its length alone.
"""

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fastbat.errors import InputError
from fastbat.randomness import generator

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels", "fine_label")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"}


@dataclass(frozen=True)
class Source:
    """A split that has been found."""

    dataset: Any  # datasets.Dataset
    mixed: bool  # whether its images are put into another order
    files: tuple[Path, ...] = ()  # what it is made of, where that is on disk
    root: Path = Path()
    classes: tuple[str, ...] = ()  # that folders are numbered by, perhaps those of another split

    def key(self, contents: bool) -> str:
        """Return a SHA-256 over classes, names and sizes of the files, and `contents`; of the hub, its own key."""
        made_of = (self.classes or "") if self.files else self.dataset._fingerprint
        digest = hashlib.sha256(f"{self.mixed} {made_of}".encode())
        for file in self.files:
            digest.update(f"\n{file.relative_to(self.root)} {file.stat().st_size}".encode())
            if contents:
                digest.update(file.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Encoded:
    """A split whose image i is in row order[i] of a `datasets.Dataset`."""

    rows: Any  # a column of {"bytes", "path"}
    column: str
    order: NDArray[np.int64]
    labels: NDArray[np.int64]  # (N,), in that order
    classes: tuple[str, ...]  # their names; empty where they have none

    @staticmethod
    def of(source: Source, image: str | None, label: str | None) -> "Encoded":
        """Return the images of `source` in the columns `image` and `label`, or in the usual ones; put in order."""
        import datasets

        features = source.dataset.features
        pictures = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        image = _column("image", image, (*pictures, *IMAGE_COLUMNS), features)
        label = _column("label", label, LABEL_COLUMNS, features)
        labels = np.asarray(source.dataset[label][:])
        if labels.dtype.kind not in "iu" or not len(labels):
            raise InputError(f"column {label!r} does not hold whole numbers; number the classes from 0")
        with reading(f"column {image!r}", "name the one with the images: --image-column"):
            rows = source.dataset.select_columns(image).cast_column(image, datasets.Image(decode=False))
        order = generator("mixed", len(rows)).permutation(len(rows)) if source.mixed else np.arange(len(rows))
        names = tuple(getattr(features[label], "names", ()))
        return Encoded(rows, image, order, labels.astype(np.int64)[order], names)

    def open(self, i: int, at_least: int | None = None) -> Image.Image:
        """Return image i in RGB, upright; a JPEG may come smaller, but with no side below `at_least` pixels."""
        row = int(self.order[i])
        item = self.rows[row][self.column] or {}
        path, data = item.get("path") or f"the image in row {row}", item.get("bytes")
        with reading(path, "mend it or take it out"), Image.open(path if data is None else io.BytesIO(data)) as image:
            if at_least is not None:
                image.draft("RGB", (at_least, at_least))
            return ImageOps.exif_transpose(image).convert("RGB")


def _column(what: str, wanted: str | None, usual: Iterable[str], found: Iterable[str]) -> str:
    for name in usual if wanted is None else (wanted,):
        if name in found:
            return name
    raise InputError(f"no {wanted or what} column among {', '.join(found)}; name the one: --{what}-column")


def on_disk(folder: Path, name: str | None, mixed: bool, split: str) -> Source | None:
    """Return a split in `folder`, if it is there: folders of classes, or parquet files of the data set `name`."""
    import datasets

    if classes := _folders(folder / "train") or _folders(folder / split):
        return _class_folders(folder, split, classes) if _folders(folder / split) else None
    files = _parquet_files(folder, split, name)
    if not files:
        return None
    with reading(str(files[0]), "copy it anew"):
        rows = datasets.Dataset.from_parquet([str(file) for file in files])
    return Source(rows, mixed, files, folder)


def on_hub(hub: str, mixed: bool) -> dict[str, Source]:
    """Return the splits of the data set `hub`, downloaded where they are not yet."""
    import datasets

    with reading(f"the hub's {hub}", "with no network, put its parquet files into a folder: --data-dir"):
        splits = datasets.load_dataset(hub)
    return {split: Source(rows, mixed) for split, rows in splits.items()}


def _folders(folder: Path) -> list[str]:
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(inner.name for inner in inside if inner.is_dir() and not inner.name.startswith("."))


def _class_folders(root: Path, split: str, classes: list[str]) -> Source:
    import datasets

    files, labels = list[Path](), list[int]()
    for name in _folders(root / split):
        inside = sorted(file for file in (root / split / name).rglob("*") if file.suffix.lower() in SUFFIXES)
        if not inside or name not in classes:
            what = "holds no images" if not inside else "is no class of the training images"
            raise InputError(f"{str(root / split / name)!r} {what}; take it out")
        files += inside
        labels += [classes.index(name)] * len(inside)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=classes))
    rows = datasets.Dataset.from_dict({"image": [str(file) for file in files], "label": labels}, features)
    return Source(rows, True, tuple(files), root, tuple(classes))


def _parquet_files(folder: Path, split: str, name: str | None) -> tuple[Path, ...]:
    """Return the files [PREFIX-]SPLIT*.parquet: of the data set `name`, else of the only one that is there."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        if match := re.fullmatch(rf"(?:(.+)[-_])?{split}(?:[-_.].*)?\.parquet", file.name):
            found.setdefault(match[1] or "", []).append(file)
    if name is None and len(found) > 1:
        raise InputError(f"{str(folder)!r} holds several data sets ({', '.join(found)}); give each its own folder")
    fits = [prefix for prefix in found if name is None or prefix in (name, "") or prefix.startswith(f"{name}-")]
    return tuple(found[max(fits, key=lambda prefix: (prefix == name, len(prefix)))]) if fits else ()


@contextmanager
def reading(what: str, remedy: str) -> Iterator[None]:
    """Tell in one line of an error in the block; without the progress bars of `datasets`."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    except Exception as error:
        line = next(iter(str(error).strip().splitlines()), "no message")
        raise InputError(f"{what} cannot be read ({type(error).__name__}: {line}); {remedy}") from error
    finally:
        if shown:
            datasets.enable_progress_bars()
