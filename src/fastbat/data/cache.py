"""Images decoded once, then kept: uint8 arrays in a folder named after what they were decoded from.

They are mapped into memory: all processes that train on them share one copy, checked against its fingerprint at every
start. FASTBAT_CACHE names the folder that holds them (~/.cache/fastbat unless set).
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fastbat.data.crop import centre
from fastbat.data.encoded import Encoded
from fastbat.data.images import Images, fingerprint
from fastbat.data.picture import chw
from fastbat.data.tables import IDLE, Shards, copied
from fastbat.errors import InputError
from fastbat.files import read_records, remove_beside, replacing, write_records
from fastbat.progress import bar, say

VERSION = 2  # of what pictures are decoded to


def cached(made_of: tuple[object, ...], encoded: Encoded, size: int | None) -> Images:
    """Return the images of `encoded`, from the cache where it has them: `made_of` says what they are decoded from.

    With `size` the shorter side is resized to so many pixels and the middle cut out; without it all images must have
    one size. Raises InputError where they have not, an image cannot be read, or the cache cannot be written.
    """
    folder = place() / hashlib.sha256(repr((VERSION, made_of)).encode()).hexdigest()
    if (images := _read(folder)) is None:
        if (folder / "images.json").exists():
            say(f"the images in {str(folder)!r} were cut short or altered; they are decoded again")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        pixels = _decode(encoded, size)
        with writing(folder):
            _write(folder, pixels, encoded)
        images = _read(folder)
    if images is None:
        raise InputError(
            f"the cache in {str(folder)!r} cannot be read back; check its disk, or name another: FASTBAT_CACHE"
        )
    return images


def indexed(encoded: Encoded) -> Encoded:
    """Return `encoded` with each picture at hand: those of tables are copied into the cache, once."""
    if not isinstance(encoded.rows, Shards):
        return encoded
    with writing(place()):
        place().mkdir(parents=True, exist_ok=True)
        return replace(encoded, rows=copied(encoded.rows, place()))


def place() -> Path:
    """Return the folder of the cache."""
    return Path(os.environ.get("FASTBAT_CACHE") or "~/.cache/fastbat").expanduser()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an error of the disk in the block into one line that names the variable to set."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(
            f"decoded images cannot be kept in {str(folder)!r}: {why}; name another folder: FASTBAT_CACHE"
        ) from error


def _read(folder: Path) -> Images | None:
    """Return what lies in the cache; None where it is missing, cut short or altered."""
    try:
        (about,) = read_records(folder / "images.json")
        pixels, labels = (
            torch.from_numpy(np.load(folder / f"{part}.npy", mmap_mode="c")) for part in ("pixels", "labels")
        )
        whole = (pixels.dtype, labels.dtype) == (torch.uint8, torch.int64)
        whole = whole and fingerprint(pixels, labels) == about["fingerprint"]
    except Exception:  # what numpy raises at an altered header is not documented
        whole = False
    return Images(pixels, labels, tuple(about["classes"]), about["fingerprint"]) if whole else None


def _decode(encoded: Encoded, size: int | None) -> NDArray[np.uint8]:
    """Return the pixels (N, C, H, W)."""
    count, done, pixels = len(encoded.labels), 0, np.empty(0, np.uint8)
    with bar("decoding images") as show:
        for i, image in encoded:
            levels = chw(image if size is None else centre(image, size, size))
            if not done:
                pixels = np.empty((count, *levels.shape), np.uint8)
            if levels.shape != pixels.shape[1:]:
                sizes = " and ".join(str(list(shape[-2:])) for shape in (pixels.shape, levels.shape))
                raise InputError(f"images differ in size, {sizes}; give all one: --image-size 64")
            pixels[i] = levels
            show((done := done + 1) / count, f"decoding {count} images, once")
    return pixels


def _write(folder: Path, pixels: NDArray[np.uint8], encoded: Encoded) -> None:
    for part, array in (("pixels", pixels), ("labels", encoded.labels)):
        remove_beside(folder / f"{part}.npy", IDLE)
        with replacing(folder / f"{part}.npy") as file:
            np.save(file, array)
    about = {
        "classes": encoded.classes,
        "fingerprint": fingerprint(torch.from_numpy(pixels), torch.from_numpy(encoded.labels)),
    }
    write_records(folder / "images.json", [about])  # last: its presence says that the arrays are whole
