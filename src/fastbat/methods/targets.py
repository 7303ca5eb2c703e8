"""Targets (B, K) in place of labels, of K classes: the true one leaves a share to the others.

relaxed(m)            m on the true class, (1 - m) / (K - 1) on each other
smoothed(s)           1 - s + s / K on the true class, s / K on each other: torch's label smoothing
randomly_smoothed(s)  1 - s on the true class, s on the others by weights U(0, 1), drawn in every call
"""

from __future__ import annotations

from collections.abc import Callable

from fastbat.attacks.objective import Objective
from fastbat.errors import InputError
from fastbat.lazy import F, Tensor, torch
from fastbat.methods.method import Batch, at_random, loss_to

Targets = Callable[[Tensor, Tensor], Tensor]  # (logits (B, K), labels (B,)) -> targets (B, K)


def relaxed(mass: float) -> Targets:
    """Return the targets with `mass` on the true class."""
    return lambda logits, y: true_and_others(logits, y, mass, (1 - mass) / (logits.shape[1] - 1))


def smoothed(share: float) -> Targets:
    """Return the targets that spread `share` over all classes."""
    return lambda logits, y: true_and_others(logits, y, 1 - share + share / logits.shape[1], share / logits.shape[1])


def true_and_others(logits: Tensor, y: Tensor, true: float, others: float) -> Tensor:
    """Return targets of two values."""
    return torch.full_like(logits, others).scatter(1, y[:, None], true)


def randomly_smoothed(share: float) -> Targets:
    """Return the targets that spread `share` over the other classes at random."""

    return lambda logits, y: (share * at_random(logits, y)).scatter(1, y[:, None], 1 - share)


def toward(targets: Targets) -> Objective:
    """Return what an attack climbs: the summed CE to these targets."""
    return lambda logits, y: F.cross_entropy(logits, targets(logits, y), reduction="sum")


def target_loss(logits: Tensor, batch: Batch, targets: Targets) -> Tensor:
    """Return the mean CE to these targets; the batch's label smoothing spreads them once more."""
    return loss_to(logits, targets(logits, batch.y), batch)


def check_share(name: str, share: float) -> None:
    """Raise InputError unless the setting `name`, a share of a target, lies between 0 and 1."""
    if not 0 <= share <= 1:
        raise InputError(f"{name} is {share:g}; it is a share of each target, from 0 to 1")
