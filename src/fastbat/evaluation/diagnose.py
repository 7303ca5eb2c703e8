"""Looking closer: how the loss bends, how large its gradients are, and which images break most easily."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fastbat.attacks import input_gradient
from fastbat.errors import InputError
from fastbat.evaluation.alignment import gradient_alignment
from fastbat.evaluation.attacked import AttackedModel, TestImages
from fastbat.evaluation.check import check_fit
from fastbat.evaluation.landscape import flatness
from fastbat.evaluation.measures import attack, by_class, correct
from fastbat.evaluation.probe import gradient_sizes
from fastbat.evaluation.request import budgets_of, check_seed
from fastbat.evaluation.rounds import Plan
from fastbat.geometry import tiny
from fastbat.progress import bar, say
from fastbat.runtime.modes import frozen

AT_ONCE = 250  # images
LEVELS = 16  # budgets tried: eps / 8, 2 eps / 8, ..., 2 eps
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Diagnosis:
    """What a closer look shows."""

    numbers: Mapping[str, Any]
    """JSON-ready: GA score, norms of the input gradient, shares without one, accuracy by class; means over images."""
    smallest_eps: Tensor
    """(N,) the least budget tried at which PGD-20 breaks the image; 0: misclassified, inf: never broken."""
    x_adv: Tensor
    """(N, C, H, W) the example at that budget."""
    loss_range: Tensor
    """(N,) how far the loss ranges over the square |s|, |t| <= eps around the image (Figure 3)."""
    loss_bend: Tensor
    """(N,) how far it lies there from its plane through the image, at most."""


def diagnose(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int = 0) -> Diagnosis:
    """Look at `model` on images x (N, C, H, W) in [0, 1] or bytes, labels y (N,), around the budget `eps`.

    Raises InputError where model, images and budget do not fit, or the model has no gradient.
    """
    (eps,), seed = budgets_of(eps), check_seed(seed)
    if doubt := tiny(eps):
        say(doubt)
    images = TestImages.of(x, y, model)
    x, y = images.batch(slice(None))
    with frozen(model):
        classes, white_box = check_fit(model, images)
        if not white_box:
            raise InputError("the model's output has no gradient with respect to the images; nothing to look at")
        right, margins = correct(model, images).to(images.device), gradient_sizes(model, x, y)
        parts = zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True)
        norms = torch.cat([input_gradient(model, *p, torch.zeros_like(p[0])).flatten(1).norm(dim=1) for p in parts])
        ranges, bends = flatness(model, x, y, eps, seed=seed)
        smallest, x_adv = smallest_budgets(model, x, y, right, Plan(eps, classes, seed, 20, 1))
    numbers = {
        "n": len(y),
        "eps_255": round(255 * eps, 6),
        "ga": gradient_alignment(model, x, y, eps, seed=seed),
        "gradient_l2": {f"{q:.0%}": norms.quantile(q).item() for q in QUANTILES},
        "zero_gradients": (norms == 0).float().mean().item(),
        "zero_margin_gradients": (margins == 0).float().mean().item(),
        "loss_range": ranges.mean().item(),
        "loss_bend": bends.mean().item(),
        "sa": 100 * right.float().mean().item(),
        "sa_per_class": by_class(right, y, classes),
        "robust_share": {
            f"{255 * level:.10g}": (smallest > level * (1 + 1e-6)).float().mean().item() for level in levels(eps)
        },
    }
    return Diagnosis(numbers, smallest.cpu(), x_adv.cpu(), ranges.cpu(), bends.cpu())


def levels(eps: float) -> list[float]:
    """Return the budgets that are tried, up to 1."""
    return [level for i in range(1, LEVELS + 1) if (level := eps * i / 8) <= 1]


def smallest_budgets(model: nn.Module, x: Tensor, y: Tensor, right: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Return for each image the least budget at which PGD breaks it, and the example."""
    smallest, x_adv, attacked = torch.where(right, torch.inf, 0.0), x.clone(), AttackedModel.of(model)
    with bar("smallest budgets") as show:
        for i, level in enumerate(levels(plan.eps)):
            left = smallest.isinf().nonzero().flatten()
            show(i / LEVELS, f"eps {255 * level:g}/255: {len(left)} of {len(y)} robust")
            for index in left.split(AT_ONCE):
                rounds = replace(plan, eps=level).rounds("pgd")
                found = attack(attacked, x[index], y[index], index.cpu(), rounds, level)
                smallest[index[found.broken]] = level
                x_adv[index[found.broken]] = found.x_adv[found.broken]
    return smallest, x_adv
