"""PGD (Madry et al., 2018): d <- P(d + step * sign g(d)), from a start that may lie outside the box.

Where g is not a number d stays.
"""

from __future__ import annotations

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import Objective, cross_entropy
from fastbat.geometry import Box
from fastbat.lazy import Tensor, nn


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    start: Tensor,
    *,
    eps: float,
    steps: int,
    step: float,
    objective: Objective = cross_entropy,
) -> Tensor:
    """Return the final iterate d (B, C, H, W) of `steps` signed steps of size `step` on the [0, 1] scale."""
    box, delta = Box(x, eps), start
    for _ in range(steps):
        g = input_gradient(model, x, y, delta, objective=objective)
        delta = box.project(delta + step * g.nan_to_num(0.0).sign())
    return delta
