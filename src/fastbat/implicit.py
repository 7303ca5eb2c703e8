"""The inverse in the Hessian-aware implicit gradient, Eq. 23: w = E (E' (H + lambda I) E)^-1 E' v, matrix-free.

H = hess_dd l_atk at d*, E the free coordinates, v = grad_d l_tr(d*). It belongs to the lower level before it is
linearised, l_atk(d) + lambda / 2 |d - z|^2; with H = 0, as in the linearised problem (7), w = v / lambda on the free
coordinates, and the Hessian-free term of Eq. 12 comes back.

Conjugate gradients over the whole batch, since BatchNorm in train mode couples its images. H = -hess CE need not be
positive: where a direction of curvature <= 0 shows, the system is no minimum's, and the Hessian-free w is returned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastbat.lazy import Tensor, torch


@dataclass(frozen=True)
class Solution:
    """What the solver found, and how."""

    w: Tensor  # (B, C, H, W), zero off the free coordinates
    iterations: int
    residual: float  # |(H_FF + lambda I) w - v_F| / |v_F|; of the Hessian-free w where it fell back
    fell_back: bool
    hessian: float  # |H_FF v_F| / (lambda |v_F|): the relative residual of the Hessian-free w, 0 where H = 0


def solve(
    g: Tensor,  # (B, C, H, W) = -grad_d l_atk at delta, with its graph
    delta: Tensor,  # (B, C, H, W), what g was taken with respect to
    v: Tensor,  # (B, C, H, W)
    free: Tensor,  # (B, C, H, W) 0/1
    lam: float,
    *,
    iterations: int = 10,
    tolerance: float = 1e-3,
) -> Solution:
    """Return w; at most `iterations` Hessian-vector products, fewer once the relative residual is below `tolerance`."""

    def system(p: Tensor) -> Tensor:
        return lam * p - free * torch.autograd.grad(g, delta, p, retain_graph=True)[0]

    def relative(residual: Tensor) -> float:
        return math.sqrt(_dot(residual, residual) / bb)

    b = free * v
    w, r = torch.zeros_like(b), b
    p, rr, bb = r, _dot(r, r), _dot(b, b)
    if bb == 0:
        return Solution(w, 0, 0.0, False, 0.0)
    for i in range(iterations):
        image = system(p)
        if i == 0:
            hessian = relative(image / lam - b)
        curvature = _dot(p, image)
        if not curvature > 0:
            w = b / lam
            return Solution(w, i + 1, relative(system(w) - b), True, hessian)
        w, r = w + rr / curvature * p, r - rr / curvature * image
        rr, before = _dot(r, r), rr
        if rr <= tolerance**2 * bb:
            break
        p = r + rr / before * p
    return Solution(w, i + 1, math.sqrt(rr / bb), False, hessian)


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.sum(a * b, dtype=torch.float64))
