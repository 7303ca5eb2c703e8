"""How well two input gradients of each image align: their cosine (Andriushchenko & Flammarion, 2020)."""

from __future__ import annotations

from fastbat.lazy import F, Tensor, torch


def cosines(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos(a, b) image by image, (B,), and where it means anything: neither is zero there."""
    a, b = a.flatten(1), b.flatten(1)
    both = (a.abs().amax(1) > 0) & (b.abs().amax(1) > 0)
    a, b = (torch.where(both[:, None], side, 1.0) for side in (a, b))
    a, b = (side / side.abs().amax(1, keepdim=True).detach() for side in (a, b))  # squares underflow else
    return F.cosine_similarity(a, b, eps=0), both
