"""Gradient alignment (Andriushchenko & Flammarion, 2020; Figure 2): mean cos(g(0), g(u)), u = U(-eps, eps).

Near 1 the loss is linear within the budget and one step is a good attack; where it falls, one step misleads.
"""

import torch
from torch import Tensor, nn

from fastbat.attacks.alignment import cosines
from fastbat.attacks.gradient import input_gradient
from fastbat.randomness import uniform_starts
from fastbat.runtime.modes import frozen
from fastbat.runtime.processes import rank, summed, world


def gradient_alignment(
    model: nn.Module, x: Tensor, y: Tensor, eps: float, *, seed: int = 0, batch_size: int = 250
) -> float | None:
    """Return the GA score of `model` on images x (N, C, H, W) in [0, 1], labels y (N,), in [-1, 1].

    Images on which either gradient is zero are left out; where none is left there is no score. The noise of an image
    depends on (seed, its place) alone. Under torchrun all processes call it, and share the images out.
    """
    found, meant = x.new_zeros(len(y)), torch.zeros_like(y)
    with frozen(model):
        for index in torch.arange(len(y)).split(batch_size)[rank() :: world()]:
            xb, yb = x[index], y[index]
            noise = eps * (2 * uniform_starts(xb, index, seed, "alignment") - 1)
            at_x = input_gradient(model, xb, yb, torch.zeros_like(xb))
            cosine, both = cosines(at_x, input_gradient(model, xb, yb, noise))
            found[index], meant[index] = cosine.detach(), both.to(meant.dtype)
    scores = summed(found)[summed(meant).bool()]
    return scores.mean().item() if len(scores) else None
