"""The measurements themselves, image by image: correct, robust to PGD, and the check that every example must pass.

An adversarial example counts only if a fresh forward pass of the model misclassifies it and it lies in the eps ball and
in [0, 1], to 1e-6. So an attack can understate how much it broke, never overstate.
"""

import torch
from torch import Tensor, nn

from fastbat.attacks import pgd, survivors
from fastbat.data import unit
from fastbat.evaluation.check import first_device
from fastbat.progress import Show
from fastbat.randomness import uniform_starts

SLACK = 1e-6


@torch.no_grad()
def correct(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 250) -> Tensor:
    """Return a mask (N,): classified correctly. Logits that are not finite count as wrong."""
    return torch.cat([_right(model, *batch) for batch in zip(x.split(batch_size), y.split(batch_size), strict=True)])


@torch.no_grad()
def adversarial(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, eps: float, batch_size: int = 250) -> Tensor:
    """Return a mask (N,): x_adv is misclassified, within eps of x and within [0, 1], both to 1e-6."""
    x = unit(x)
    inside = ((x_adv - x).abs() <= eps + SLACK) & (x_adv >= -SLACK) & (x_adv <= 1 + SLACK)
    return inside.flatten(1).all(1) & ~correct(model, x_adv, y, batch_size)


def _right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits = model(unit(x.to(first_device(model, x))))
    right: Tensor = (logits.argmax(1) == y.to(logits.device)) & logits.isfinite().all(1)
    return right.to(y.device)


def robust_to_pgd(
    model: nn.Module,  # eval mode, weights frozen
    x: Tensor,  # (N, C, H, W) in [0, 1], or bytes
    y: Tensor,  # (N,)
    candidates: Tensor,  # (N,) bool: the images to attack; the others stay False
    *,
    eps: float,
    steps: int,
    restarts: int,
    step: float,
    seed: int = 0,
    batch_size: int = 250,
    show: Show = lambda share, text: None,
) -> Tensor:
    """Return a mask (N,): candidates that no restart's final iterate breaks (RA-PGD-steps-restarts).

    An image leaves after the first restart that breaks it, which saves work and changes no count. Starts depend on
    (seed, restart, image index) alone.
    """
    device = first_device(model, x)
    robust = candidates.clone()
    for restart in range(restarts):
        batches = survivors(robust, batch_size)
        for i, index in enumerate(batches):
            share = (restart + i / len(batches)) / restarts
            show(share, f"PGD-{steps}-{restarts} restart {restart + 1}: {int(robust.sum())} of {len(y)} robust")
            xb, yb = unit(x[index].to(device)), y[index].to(device)
            start = eps * (2 * uniform_starts(xb, index, seed, "pgd", restart) - 1)
            delta = pgd(model, xb, yb, start, eps=eps, steps=steps, step=step)
            robust[index[adversarial(model, xb, xb + delta, yb, eps).to(index.device)]] = False
    return robust
