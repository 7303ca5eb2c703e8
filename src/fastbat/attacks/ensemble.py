"""AutoAttack (Croce & Hein, 2020), Linf: apgd-ce, apgd-t, fab-t and square, each pyautoattack's own computation."""

import logging
from collections.abc import Callable
from functools import partial

import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")  # of the standard version, in its order
TARGETED = ("apgd-t", "fab-t")
MIN_CLASSES_TARGETED = 4  # the targeted DLR loss divides by a difference with the 4th largest logit
QUERIES = 5000


def standard_parts(num_classes: int) -> tuple[str, ...]:
    """Return the parts of the standard version that work with this many classes, in its order."""
    return tuple(part for part in PARTS if part not in TARGETED or num_classes >= MIN_CLASSES_TARGETED)


def autoattack_part(
    part: str,
    model: nn.Module,  # eval mode, weights frozen
    x: Tensor,  # (B, C, H, W) in [0, 1], all classified correctly
    y: Tensor,  # (B,)
    *,
    eps: float,
    num_classes: int,
    seed: int = 0,
    queries: int = QUERIES,  # of Square
) -> Tensor:
    """Return x_adv (B, C, H, W): for each image what `part` found, or an image that fools nobody.

    Reseeds torch's global generators.
    """
    logging.getLogger("auto-attack").setLevel(logging.ERROR)  # what it warns of, the red flags say
    attack = AutoAttack(model, eps=eps, seed=seed, device=x.device)
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(9, num_classes - 1)
    attack.square.n_queries = queries
    attack.square.margin_and_loss = partial(without_ties, attack.square.margin_and_loss)
    attack.apgd.loss = "ce"
    attack.fab.targeted = True
    perturb = {
        "apgd-ce": attack.apgd.perturb,
        "apgd-t": attack.apgd_targeted.perturb,
        "fab-t": attack.fab.perturb,
        "square": attack.square.perturb,
    }[part]
    found: Tensor = perturb(x.clone(), y.clone())
    return found.detach()


def without_ties(margin_and_loss: Callable[..., tuple[Tensor, Tensor]], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return Square's margin and loss, an exact tie counted as not broken.

    Square leaves an image whose margin is 0, but a tie may still be classified as y, and in bf16 ties are common.
    """
    margin, loss = margin_and_loss(x, y)
    return torch.where(margin == 0, torch.finfo(margin.dtype).tiny, margin), loss
