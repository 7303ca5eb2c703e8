"""The paper's schedule (Sec. 5.1): the learning rate linear from 0 to its peak over the first half, and back, per step.

The released codes let the momentum mirror it, from 0.9 to 0.8 at the peak and back (PyTorch's CyclicLR). On ImageNet
(App. C.1) the rate follows a published table (Wong et al., 2020).
"""

from collections.abc import Sequence

import numpy as np


def triangular(step: int, steps: int, end: float = 0.0) -> float:
    """Return the height of the triangle, in (0, 1], at update `step` (from 0) of `steps`; at its end it is `end`."""
    position = (step + 0.5) / steps
    return min(2 * position, end + (1 - end) * (2 - 2 * position))


def piecewise(step: int, knots: Sequence[tuple[int, float]]) -> float:
    """Return the height at update `step` of the lines between `knots`, (update, height)."""
    updates, heights = np.array(knots).T
    return float(np.interp(step + 0.5, updates, heights))
