"""The paper's schedule (Sec. 5.1): the learning rate linear from 0 to its peak over the first half, and back, per step.

The released codes let the momentum mirror it, from 0.9 to 0.8 at the peak and back (PyTorch's CyclicLR).
"""


def triangular(step: int, steps: int) -> float:
    """Return the height of the triangle, in (0, 1], at update `step` (from 0) of `steps`."""
    position = (step + 0.5) / steps
    return min(2 * position, 2 - 2 * position)
