"""What an attack climbs: -l_atk of Sec. 3 as a function of the logits at x + d, summed over the batch.

ce   CE(f(x + d), y)                                the default, l_atk = -l_tr
kl   KL(f(x) || f(x + d))                           against the prediction at x (TRADES, BACKSMOOTH)
margin  -(z_y - max_{k != y} z_k)                   of the logits; blind to how confident the model is
dlr  -(z_y - max_{k != y} z_k) / (z_(1) - z_(3))    of the sorted logits (Croce & Hein, 2020)
"""

from __future__ import annotations

from collections.abc import Callable

from fastbat.errors import InputError
from fastbat.lazy import F, Tensor, nn, torch

Objective = Callable[[Tensor, Tensor], Tensor]  # (logits (B, K), labels (B,)) -> 0-d


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the summed CE."""
    return F.cross_entropy(logits, y, reduction="sum")


def kl(clean: Tensor, logits: Tensor) -> Tensor:
    """Return the summed KL(softmax(clean) || softmax(logits)), both (B, K)."""
    return F.kl_div(F.log_softmax(logits, 1), F.log_softmax(clean, 1), reduction="sum", log_target=True)


def kl_from(clean: Tensor) -> Objective:
    """Return the objective KL(softmax(clean) || f(x + d)), which does not look at the labels."""
    return lambda logits, y: kl(clean, logits)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return the summed margin by which another class is ahead of the true one; below 0 where none is."""
    truth = logits.gather(1, y[:, None])[:, 0]
    return (logits.scatter(1, y[:, None], -torch.inf).amax(1) - truth).sum()


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Return the summed difference-of-logits ratio.

    Raises InputError for fewer than three classes: with two the ratio is +1 or -1 everywhere, and has no gradient.
    """
    if logits.shape[1] < 3:
        raise InputError(
            f"the difference-of-logits ratio needs 3 classes, not {logits.shape[1]}; climb ce or kl instead"
        )
    ordered, order = logits.sort(1, descending=True)
    other = ordered[:, 0].where(order[:, 0] != y, ordered[:, 1])
    truth = logits.gather(1, y[:, None])[:, 0]
    return -((truth - other) / (ordered[:, 0] - ordered[:, 2] + 1e-12)).sum()


def objective_named(name: str, model: nn.Module, x: Tensor) -> Objective:
    """Return the objective "ce", "dlr", or "kl" from the prediction at x (B, C, H, W), which takes a pass."""
    return kl_from(model(x)) if name == "kl" else {"ce": cross_entropy, "dlr": dlr}[name]
