"""One stored picture -> 8 bits a channel, RGB or grey, upright; no bit depth is lost in silence.

    16-bit grey         round(v / 257); of a TIFF with fewer bits round(255 v / (2^bits - 1))
    16-bit colour       v // 256, which is how Pillow reads it
    float, 32-bit       refused: nothing says which value is white
    grey, channels 1    0.299 R + 0.587 G + 0.114 B of a colour picture (ITU-R 601-2)
    several frames      the first

What cannot be read is an InputError that names the picture.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fastbat.errors import InputError

# Formats that Pillow names and does not decode, decodes by another program, or whose range it does not know
NOT_READ = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF"}
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # tags of a TIFF


@cache
def formats() -> tuple[str, ...]:
    """Return the formats that are read."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in NOT_READ)


@cache
def endings() -> frozenset[str]:
    """Return the endings of file names that belong to those formats, in lower case."""
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats())


def picture(stored: Any, name: str, channels: int = 3, at_least: int | None = None) -> Image.Image:
    """Return a picture in RGB, or in grey for `channels` 1; a JPEG may come smaller, no side below `at_least` pixels.

    `stored` is a path, the bytes of a file, {"bytes", "path"}, or nested lists of whole numbers (H, W) or (H, W, C).
    Raises InputError where it is none, cannot be read, or has no known range.
    """
    if isinstance(stored, Mapping):
        stored = stored.get("path") if stored.get("bytes") is None else stored["bytes"]
    if not isinstance(stored, str | bytes | list):
        raise InputError(f"{name} holds no picture; put one there or take it out")
    with reading(name, "fix it or take it out"), _opened(stored) as image:
        if at_least is not None:
            image.draft("RGB", (at_least, at_least))
        return _converted(_eight_bits(image, name), channels)


def chw(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels (C, H, W) of an image."""
    pixels = np.asarray(image)
    return np.array(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1), order="C")


def _opened(stored: str | bytes | list[Any]) -> Image.Image:
    if isinstance(stored, list):
        return Image.fromarray(_levels(stored))
    return Image.open(io.BytesIO(stored) if isinstance(stored, bytes) else stored, formats=formats())


def _levels(rows: list[Any]) -> NDArray[np.uint8]:
    """Return nested lists as an array of bytes; ValueError where they are no picture."""
    pixels = np.array(rows)
    if pixels.dtype.kind not in "iu" or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))):
        raise ValueError(f"{pixels.dtype} of shape {pixels.shape}, not whole numbers (H, W) or (H, W, channels)")
    if pixels.min() < 0 or pixels.max() > 255:
        raise ValueError(f"pixels in {pixels.min()}..{pixels.max()}, not in 0..255")
    return pixels.astype(np.uint8).squeeze(2) if pixels.shape[2:] == (1,) else pixels.astype(np.uint8)


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Return the picture upright; one of more than 8 bits a channel scaled to 8."""
    tags = getattr(image, "tag_v2", {})
    wide = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))  # I: 16 bits there
    if image.mode in ("I", "F") and not wide:
        kind = "floats" if image.mode == "F" else "32-bit or signed numbers"
        raise InputError(f"{name} holds {kind} (mode {image.mode}) of unknown range; save it with 8 or 16 bits")
    if wide and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        raise InputError(f"{name} has 16 bits with 0 for white, which Pillow reads as black; save it with 0 for black")
    upright, top = ImageOps.exif_transpose(image), 2 ** tags.get(BITS, (16,))[0] - 1
    if not wide:
        return upright
    levels = (510 * np.asarray(upright).astype(np.int64) + top) // (2 * top)  # rounded
    return Image.fromarray(levels.astype(np.uint8))


def _converted(image: Image.Image, channels: int) -> Image.Image:
    image.info.pop("transparency", None)  # the colours below it are kept, as torchvision does
    if image.mode == ("L" if channels == 1 else "RGB"):
        return image
    return image.convert("RGB") if channels == 3 else image.convert("RGB").convert("L")


@contextmanager
def reading(what: str, remedy: str) -> Iterator[None]:
    """Turn an error in the block into one line: what cannot be read, why, and the remedy."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{what} cannot be read: no picture in a format that Pillow reads; {remedy}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(
                f"{what} cannot be read: {error.strerror}; check that it is there, and its rights"
            ) from error
        line = next(iter(str(error).strip().splitlines()), "no message")
        raise InputError(f"{what} cannot be read ({type(error).__name__}: {line}); {remedy}") from error
