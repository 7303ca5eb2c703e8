"""Images decoded once, then kept: uint8 arrays in a folder named after what they were decoded from.

They are mapped into memory: all processes that train on them share one copy, checked against its fingerprint at every
start. FASTBAT_CACHE names the folder that holds them (~/.cache/fastbat unless set).
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fastbat.data.crop import centre
from fastbat.data.encoded import Encoded
from fastbat.data.images import Images, fingerprint
from fastbat.errors import InputError
from fastbat.files import replacing
from fastbat.progress import bar


def cached(key: str, encoded: Encoded, size: int | None) -> Images:
    """Return the images of `encoded`, from the cache where it has them under `key`.

    With `size` the shorter side is resized to so many pixels and the middle cut out; without it all images must have
    one size. Raises InputError where they have not, or an image cannot be read.
    """
    folder = Path(os.environ.get("FASTBAT_CACHE", "~/.cache/fastbat")).expanduser() / key
    if (images := _read(folder)) is None:
        _decode(folder, encoded, size)
        images = _read(folder)
    if images is None:
        raise InputError(
            f"the cache in {str(folder)!r} cannot be read back; check its disk, or name another: FASTBAT_CACHE"
        )
    return images


def _read(folder: Path) -> Images | None:
    """Return what lies in the cache; None where it is missing, cut short or altered."""
    try:
        about = json.loads((folder / "images.json").read_text())
        pixels, labels = (
            torch.from_numpy(np.load(folder / f"{part}.npy", mmap_mode="c")) for part in ("pixels", "labels")
        )
    except (OSError, ValueError, EOFError):
        return None
    if fingerprint(pixels, labels) != about["fingerprint"]:
        return None
    return Images(pixels, labels, tuple(about["classes"]), about["fingerprint"])


def _decode(folder: Path, encoded: Encoded, size: int | None) -> None:
    rows = list[NDArray[np.uint8]]()
    with bar("decoding images") as show:
        for i in range(len(encoded.labels)):
            image = encoded.open(i) if size is None else centre(encoded.open(i), size, size)
            rows.append(np.asarray(image).transpose(2, 0, 1))
            if rows[i].shape != rows[0].shape:
                (_, *first), (_, *other) = rows[0].shape, rows[i].shape
                raise InputError(f"images differ in size, {first} and {other}; give all one: --image-size 64")
            show(i / len(encoded.labels), f"decoding {len(encoded.labels)} images, once")
    pixels = np.ascontiguousarray(np.stack(rows))
    folder.mkdir(parents=True, exist_ok=True)
    for part, array in (("pixels", pixels), ("labels", encoded.labels)):
        with replacing(folder / f"{part}.npy") as file:
            np.save(file, array)
    about = {
        "classes": encoded.classes,
        "fingerprint": fingerprint(torch.from_numpy(pixels), torch.from_numpy(encoded.labels)),
    }
    with replacing(folder / "images.json") as file:  # last: its presence says that the arrays are whole
        file.write(json.dumps(about).encode())
