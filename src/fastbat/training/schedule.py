"""The learning rate of the paper (Sec. 5.1): linear from 0 to its peak over the first half, and back, per iteration."""


def triangular(step: int, steps: int, peak: float) -> float:
    """Return the learning rate of update `step` (from 0) of `steps`; it is above 0 for every step."""
    position = (step + 0.5) / steps
    return peak * min(2 * position, 2 - 2 * position)
