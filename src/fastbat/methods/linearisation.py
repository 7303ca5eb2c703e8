"""The point z at which FAST-BAT linearises the lower level, Eq. 7 (App. C.2, Table 9); z0 = P(U(-eps, eps)).

pgd-nosign    z = P(z0 + a g(z0)): the paper's
pgd-sign      z = P(z0 + eps / 2 sign g(z0))
uniform       z = z0
corner        z = P(d), d uniform on {-eps, eps}^d
"""

from __future__ import annotations

from typing import Literal

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import Objective
from fastbat.geometry import Box
from fastbat.lazy import Tensor, nn

Linearise = Literal["pgd-nosign", "pgd-sign", "uniform", "corner"]


def linearisation_point(
    how: Linearise, model: nn.Module, y: Tensor, box: Box, objective: Objective, a: float
) -> Tensor:
    """Return z (B, C, H, W) inside `box`, without a graph; `a` is the attack step of Eq. 8."""
    if how == "corner":
        return box.corner()
    start = box.uniform()
    if how == "uniform":
        return start
    g = input_gradient(model, box.x, y, start, objective=objective)
    return box.project(start + (a * g if how == "pgd-nosign" else box.eps / 2 * g.sign()))
