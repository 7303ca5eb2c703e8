"""Gradients lost at the ends of [0, 1]: pixels at exactly 0 or 1 without one, which other pixels have.

A model that clamps its input, or takes its ReLU, has none there in torch, whatever the pixel does to the logits; an
honest one has as much of it as elsewhere.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastbat.attacks import input_gradient
from fastbat.attacks.objective import margin
from fastbat.evaluation.attacked import AttackedModel
from fastbat.geometry import Box

GREY_LEVEL = 1 / 255


@dataclass(frozen=True)
class Border:
    """What the margin's input gradient is at the border pixels of some images."""

    lost: Tensor  # (M,) bool, of the images with such pixels: on over half of them, twice as often as elsewhere
    without: float  # the share of such pixels without a gradient,
    inside: float  # a grey level inside,
    climbed: float  # where attacks are given them,
    others: float  # and the share of all other pixels


def border_gradients(
    model: AttackedModel,
    x: Tensor,  # (N, C, H, W) in [0, 1]
    y: Tensor,  # (N,)
    eps: float,
    batch_size: int = 250,
) -> Border:
    """Look at random corners of the box of Eq. 9 around x, where signed steps end, from torch's global generator."""
    corners = (x + Box(x, eps).corner()).clamp(0, 1)
    border = (corners == 0) | (corners == 1)
    moved = corners.clamp(GREY_LEVEL, 1 - GREY_LEVEL)
    places = ((model.exact, corners), (model.exact, moved), (model.climbed, corners))
    at, inside, climbed = (without_gradient(network, images, y, batch_size) for network, images in places)
    counts, within = (mask.flatten(1).sum(1) for mask in (border, ~border))
    without, elsewhere = ((mask & at).flatten(1).sum(1) for mask in (border, ~border))
    lost = (2 * without > counts) & (2 * elsewhere * counts < without * within)
    shares = (share(at, border), share(inside, border), share(climbed, border), share(at, ~border))
    return Border(lost[counts > 0], *shares)


def without_gradient(model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> Tensor:
    """Return a mask of x's shape: the margin has no gradient with respect to this pixel."""
    parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
    return torch.cat([input_gradient(model, *part, torch.zeros_like(part[0]), objective=margin) == 0 for part in parts])


def share(mask: Tensor, among: Tensor) -> float:
    """Return the share of `mask` where `among` is true, 0 where it never is."""
    return float((mask & among).sum() / among.sum().clamp_min(1))
