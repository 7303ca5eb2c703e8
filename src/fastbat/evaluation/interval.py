"""How sure a share of images is, and a difference of two shares of the same images."""

import math

from fastbat.errors import InputError

NORMAL_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval for a proportion of `hits` in `n`, both ends in [0, 1] (Wilson, 1927).

    Of nothing, n = 0, anything may be true: (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, NORMAL_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired(mask: str, other: str, n: int) -> tuple[float, float, float]:
    """Return the accuracy of `mask` less that of `other` on the same n >= 1 images, and its 95 % interval, in points.

    The masks are an evaluation's, in hexadecimal. The interval is over the draw of the images, not over training seeds.
    Raises InputError where a mask is not one of n images.
    """
    if n < 1 or not len(mask) == len(other) == 2 * math.ceil(n / 8):
        raise InputError(f"masks of {len(mask)} and {len(other)} digits are not of {n} images; give two of the same")
    mine, theirs = int(mask, 16), int(other, 16)
    return difference((mine & ~theirs).bit_count(), (theirs & ~mine).bit_count(), n)


def difference(a: int, b: int, n: int) -> tuple[float, float, float]:
    """Return (a - b) / n and its 95 % interval, in points: of n >= 1 images, a and b are right with just one of two.

    The interval is Bonett and Price's (2012) for paired proportions,
    (a - b) / m -+ 1.96 sqrt(a + b - (a - b)^2 / m) / m, m = n + 2, with one more image each in a and b.
    """
    gain, m = a - b, n + 2
    half = NORMAL_95 * math.sqrt(a + b + 2 - (a - b) ** 2 / m)
    return 100 * gain / n, 100 * (gain - half) / m, 100 * (gain + half) / m
