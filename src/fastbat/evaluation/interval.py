"""How sure a share of images is."""

import math

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
