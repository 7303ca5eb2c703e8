"""The constraint set of a perturbation, Eq. 9: C(x) = {d : |d| <= eps, 0 <= x + d <= 1}, coordinate by coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastbat.errors import InputError
from fastbat.lazy import Tensor, torch
from fastbat.randomness import uniform_like

TOLERANCE = 1e-7  # a coordinate nearer to a face than this counts as on it


@dataclass(frozen=True)
class Box:
    """The perturbations allowed at images `x` (B, C, H, W) in [0, 1] with budget `eps` on the same scale.

    Comparisons are made in x's own precision; keep it float32 or better.
    """

    x: Tensor
    eps: float

    @cached_property
    def low(self) -> Tensor:
        """The lower face, max(-eps, -x)."""
        return torch.clamp(-self.x, min=-self.eps)

    @cached_property
    def high(self) -> Tensor:
        """The upper face, min(eps, 1 - x)."""
        return torch.clamp(1 - self.x, max=self.eps)

    def project(self, delta: Tensor) -> Tensor:
        """Return the nearest point of the box to `delta`: P of Eq. 8."""
        return torch.clamp(delta, self.low, self.high)

    def uniform(self) -> Tensor:
        """Draw P(U(-eps, eps)) from torch's global generator."""
        return self.project(self.eps * uniform_like(self.x))

    def corner(self) -> Tensor:
        """Draw P(d) with d uniform on the corners {-eps, eps}^d."""
        return self.project(torch.full_like(self.x, self.eps).copysign(uniform_like(self.x)))

    def interior(self, delta: Tensor) -> Tensor:
        """Return the 0/1 mask of strictly inactive constraints, the diagonal of H_C in Eq. 12."""
        return ((delta > self.low + TOLERANCE) & (delta < self.high - TOLERANCE)).to(delta.dtype)


def check_eps(eps: float) -> None:
    """Raise InputError unless the budget lies on the [0, 1] scale, 0 < eps <= 1, and changes a pixel in float32."""
    if 0 < eps <= TOLERANCE:
        raise InputError(
            f"eps is {eps * 255:.3g}/255, too small to change a pixel in float32; "
            "for 8 grey levels write 8 on the command line, 8/255 in Python"
        )
    if not 0 < eps <= 1:
        raise InputError(
            f"eps is {eps * 255:g}/255; it must lie above 0 and at most at 255/255, the range of the images"
            + (f" (in Python it is on the [0, 1] scale: {eps:g}/255)" if 1 < eps <= 255 and eps == round(eps) else "")
        )


def tiny(eps: float) -> str | None:
    """Return what to say of a budget of less than half a grey level, None of another: it was divided by 255 twice."""
    grey = other = 255 * eps
    if not 0 < grey < 0.5:
        return None
    while other < 0.5:  # perhaps even more often
        other *= 255
    likely = round(other) if abs(other - round(other)) < 0.4 else other
    return f"eps is {grey:.3g}/255, less than half a grey level; was {likely:.3g}/255 meant?"


def check_step(step: float | None) -> None:
    """Raise InputError unless the size of a step, where it is given, lies on the [0, 1] scale: 0 < step <= 1."""
    if step is not None and not 0 < step <= 1:
        raise InputError(f"step is {step:g}; it must lie in (0, 1], the scale of the images: write 2/255 for 2")
