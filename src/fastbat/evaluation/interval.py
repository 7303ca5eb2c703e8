"""How sure a share of images is, and a difference of two shares of the same images; of one training seed or several.

Over several seeds an interval is the root of the sum of two squares: of the half-width over the draw of the images,
each image's mean over the seeds, and of Student's t times the standard error of the seeds' own means. The images'
noise within a seed is in both, so the interval errs on the wide side.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, stdev
from typing import Any

from fastbat.errors import InputError
from fastbat.lazy import np

NORMAL_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def wilson(hits: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval for a proportion of `hits` in `n`, both ends in [0, 1] (Wilson, 1927).

    `hits` may be a mean over seeds. Of nothing, n = 0, anything may be true: (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, NORMAL_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def over_seeds(hits: Sequence[int], n: int, masks: Sequence[str] = ()) -> tuple[float, float, float]:
    """Return the mean accuracy of several seeds on the same n images, and its 95 % interval, in percent.

    Of one seed that is Wilson's interval. `masks` are the evaluations', in hexadecimal: where seeds err on different
    images, their mean is surer than one of them. Without masks all seeds are taken to err on the same images.
    """
    share = mean(hits) / n
    low, high = (end - share for end in wilson(mean(hits), n))
    narrower = 1.0
    if masks and len(hits) > 1 and 0 < share < 1:
        narrower = float(bits(masks, n).mean(0).std()) / math.sqrt(share * (1 - share))
    of_seeds = of_seeds_alone([hit / n for hit in hits])
    ends = share - math.hypot(narrower * low, of_seeds), share + math.hypot(narrower * high, of_seeds)
    return 100 * share, 100 * max(0.0, ends[0]), 100 * min(1.0, ends[1])


def paired_over_seeds(
    masks: Sequence[str], others: Sequence[str], n: int, tests: int = 1
) -> tuple[float, float, float]:
    """Return the accuracy of one arm less another's, seed by seed on the same images, and its interval, in points.

    `masks[i]` and `others[i]` are of the same seed; of one seed it is that of `paired`. The level is 95 % for all of so
    many `tests` together (Bonferroni).
    """
    if len(masks) == 1:
        return paired(masks[0], others[0], n, tests)
    gain, low, high = over_images_and_seeds(bits(masks, n) - bits(others, n), tests)
    return 100 * gain, 100 * low, 100 * high


def over_images_and_seeds(gains: "np.typing.NDArray[Any]", tests: int = 1) -> tuple[float, float, float]:
    """Return the mean of values (seeds, n), one an image, and its interval; of one seed over the images alone."""
    by_seed = [float(each) for each in gains.mean(1)]
    of_images = normal(tests) * float(gains.mean(0).std()) / math.sqrt(gains.shape[1])
    half, gain = math.hypot(of_images, of_seeds_alone(by_seed, tests)), mean(by_seed)
    return gain, gain - half, gain + half


def mean_over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of a value over two seeds or more and its 95 % interval, Student's."""
    half = of_seeds_alone(values)
    return mean(values), mean(values) - half, mean(values) + half


def of_seeds_alone(shares: Sequence[float], tests: int = 1) -> float:
    """Return Student's half-width of the mean of `shares`, one a seed; 0 where a single seed says nothing of others."""
    if len(shares) < 2:
        return 0.0
    from scipy.special import stdtrit  # here, for it is needed in reports alone

    return float(stdtrit(len(shares) - 1, 1 - 0.025 / tests)) * stdev(shares) / math.sqrt(len(shares))


def spread_ratio(one: Sequence[float], other: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Return the ratio of two standard deviations over seeds and its 95 % interval, by the F distribution.

    None where a side has fewer than two seeds, or no spread. The interval holds for seeds that are normal; three seeds
    show a ratio beyond 6.2 alone, ten one beyond 2.0.
    """
    if min(len(one), len(other)) < 2 or not (stdev(one) and stdev(other)):
        return None, None, None
    from scipy.special import fdtri  # here, for it is needed for comparisons alone

    ratio = stdev(one) / stdev(other)
    ends = [math.sqrt(fdtri(len(one) - 1, len(other) - 1, share)) for share in (0.975, 0.025)]
    return ratio, ratio / ends[0], ratio / ends[1]


def normal(tests: int) -> float:
    """Return how many standard errors hold 95 % for all of so many `tests` together."""
    return NORMAL_95 if tests == 1 else NormalDist().inv_cdf(1 - 0.025 / tests)


def bits(masks: Sequence[str], n: int) -> "np.typing.NDArray[np.float64]":
    """Return masks as an array (seeds, n) of zeros and ones; InputError where one is not of n images."""
    for mask in masks:
        if len(mask) != 2 * math.ceil(n / 8):
            raise InputError(f"a mask of {len(mask)} digits is not of {n} images; give those of the same images")
    rows = [np.unpackbits(np.frombuffer(bytes.fromhex(mask), np.uint8))[:n] for mask in masks]
    return np.stack(rows).astype(np.float64)


def paired(mask: str, other: str, n: int, tests: int = 1) -> tuple[float, float, float]:
    """Return the accuracy of `mask` less that of `other` on the same n >= 1 images, and its 95 % interval, in points.

    The masks are an evaluation's, in hexadecimal. The interval is over the draw of the images, not over training seeds.
    With `tests` all of so many intervals hold together (Bonferroni). Raises InputError where a mask is not one of n
    images.
    """
    if n < 1 or not len(mask) == len(other) == 2 * math.ceil(n / 8):
        raise InputError(f"masks of {len(mask)} and {len(other)} digits are not of {n} images; give two of the same")
    mine, theirs = int(mask, 16), int(other, 16)
    return difference((mine & ~theirs).bit_count(), (theirs & ~mine).bit_count(), n, tests)


def difference(a: int, b: int, n: int, tests: int = 1) -> tuple[float, float, float]:
    """Return (a - b) / n and its 95 % interval, in points: of n >= 1 images, a and b are right with just one of two.

    The interval is Bonett and Price's (2012) for paired proportions,
    (a - b) / m -+ 1.96 sqrt(a + b - (a - b)^2 / m) / m, m = n + 2, with one more image each in a and b.
    """
    gain, m = a - b, n + 2
    half = normal(tests) * math.sqrt(a + b + 2 - (a - b) ** 2 / m)
    return 100 * gain / n, 100 * (gain - half) / m, 100 * (gain + half) / m
