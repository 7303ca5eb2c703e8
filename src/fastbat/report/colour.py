"""The page's one sequential scale, and pictures as data URIs.

Lightness in OKLCH (Ottosson, 2020) rises evenly from a deep blue over teal to a pale sand, so it reads in grey too.
"""

import math
import struct
import zlib
from base64 import b64encode

from fastbat.lazy import np

Colour = tuple[int, int, int]  # sRGB


def ramp(steps: int = 9) -> list[Colour]:
    """Return the scale, dark to light; a light page uses it backwards: more loss, more ink."""
    return [_at(i / (steps - 1)) for i in range(steps)]


def _at(t: float) -> Colour:
    chroma = 0.105 + 0.05 * t if t < 0.45 else 0.1275 - 0.106 * (t - 0.45) / 0.55
    return oklch(0.34 + 0.615 * t, chroma, 266 - 166 * t**1.15)


def oklch(light: float, chroma: float, hue: float) -> Colour:
    """Return the sRGB colour of an OKLCH one, clipped."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long, medium, short = (
        (light + 0.3963377774 * a + 0.2158037573 * b) ** 3,
        (light - 0.1055613458 * a - 0.0638541728 * b) ** 3,
        (light - 0.0894841775 * a - 1.2914855480 * b) ** 3,
    )
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    red, green, blue = (round(255 * min(1.0, max(0.0, gamma(max(0.0, v))))) for v in linear)
    return red, green, blue


def gamma(v: float) -> float:
    """Return a linear intensity as sRGB has it, both in [0, 1]."""
    return 12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055


def png(pixels: "np.typing.NDArray[np.uint8]") -> str:
    """Return a picture (H, W, 3) as a data URI."""
    height, width, _ = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, part) for kind, part in chunks)
    return "data:image/png;base64," + b64encode(data).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
