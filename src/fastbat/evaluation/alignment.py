"""Gradient alignment (Andriushchenko & Flammarion, 2020; Figure 2): mean cos(g(0), g(u)), u = U(-eps, eps).

Near 1 the loss is linear within the budget and one step is a good attack; where it falls, one step misleads.
"""

import torch
from torch import Tensor, nn

from fastbat.attacks.alignment import cosines
from fastbat.attacks.gradient import input_gradient
from fastbat.randomness import uniform_starts
from fastbat.runtime.modes import frozen


def gradient_alignment(
    model: nn.Module, x: Tensor, y: Tensor, eps: float, *, seed: int = 0, batch_size: int = 250
) -> float | None:
    """Return the GA score of `model` on images x (N, C, H, W) in [0, 1], labels y (N,), in [-1, 1].

    Images on which either gradient is zero are left out; where none is left there is no score. The noise of an image
    depends on (seed, its place) alone.
    """
    found = []
    with frozen(model):
        for index in torch.arange(len(y)).split(batch_size):
            xb, yb = x[index], y[index]
            noise = eps * (2 * uniform_starts(xb, index, seed, "alignment") - 1)
            at_x = input_gradient(model, xb, yb, torch.zeros_like(xb))
            cosine, both = cosines(at_x, input_gradient(model, xb, yb, noise))
            found.append(cosine[both])
    scores = torch.cat(found)
    return scores.mean().item() if len(scores) else None
