"""What the red flags rest on, besides what was asked for: a few cheap attacks on the first images.

noise, fgsm         within each budget
pgd, pgd-margin     the same, with 20 steps from one start, on cross-entropy and on the margin
square              the same, with 300 queries
pgd, square         at 64/255, or four times the smallest budget where that is more: nothing should withstand them
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fastbat.attacks import input_gradient
from fastbat.attacks.objective import margin
from fastbat.evaluation.border import border_gradients
from fastbat.evaluation.flags import (
    MIN_IMAGES,
    Attacked,
    RedFlag,
    of_attacks,
    of_border,
    of_finite,
    of_gradients,
    of_large_budget,
    of_outputs,
    of_what_is_left,
)
from fastbat.evaluation.rounds import Plan
from fastbat.evaluation.runner import Measured, Measurement, Runner
from fastbat.models.finite import first_not_finite
from fastbat.randomness import seed_torch

IMAGES = 250
STEPS = 20  # of PGD
LARGE_EPS = 64 / 255
NEAR, FAR = ("noise", "fgsm", "pgd", "pgd-margin", "square"), ("pgd", "square")


def probes(plan: Plan, budgets: Sequence[float], n: int) -> list[Measurement]:
    """Return the attacks to add to those asked for, on the first IMAGES of `n` images."""
    plans = {eps: replace(plan, eps=eps, steps=STEPS, restarts=1, queries=300) for eps in (*budgets, large(budgets))}
    near = [(name, eps) for eps in budgets for name in NEAR]
    wanted = dict.fromkeys([*near, *((name, large(budgets)) for name in FAR)])
    return [Measurement(name, plans[eps], min(n, IMAGES), probe=True) for name, eps in wanted]


def enough(clean: Tensor) -> bool:
    """Return whether enough of the first IMAGES are classified correctly, (N,) bool, for attacks to be compared."""
    return int(clean[:IMAGES].sum()) >= MIN_IMAGES


def large(budgets: Sequence[float]) -> float:
    """Return a budget at which nothing should be robust."""
    return min(1.0, max(LARGE_EPS, 4 * min(budgets)))


def raised_flags(
    runner: Runner, wrong: Measured, found: Sequence[Measured], budgets: Sequence[float], white_box: bool
) -> tuple[tuple[RedFlag, ...], tuple[str, ...]]:
    """Return the red flags that outputs and attacks raise, and what could not be decided and why.

    `wrong` is what the measurement `clean` found, `found` what the attacks did.
    """
    seed_torch(wrong.measurement.plan.seed, "flags")  # for a model that is random
    few, clean = min(len(runner.images), IMAGES), ~wrong.broken
    finite = (~wrong.not_finite[:few]).nonzero().flatten()
    x, y = runner.images.batch(finite)
    flags = of_finite(wrong.not_finite, not_finite(runner, wrong))
    flags += of_outputs(runner.model.exact, x[: runner.batch_size]) if len(x) else []
    if not found:
        return tuple(flags), ()
    if not white_box:
        return tuple(flags), ("no gradients: only black-box attacks ran, so accuracies are upper bounds",)
    if len(x):
        flags += of_gradients(gradient_sizes(runner.model.climbed, x, y, runner.batch_size))
        flags += of_border(border_gradients(runner.model, x, y, max(budgets), runner.batch_size))
    if not enough(clean):
        right = int(clean[:few].sum())
        return tuple(flags), (f"too few: {right} images classified correctly; attacks are compared on {MIN_IMAGES}",)
    for eps in budgets:
        flags += of_attacks(Attacked(eps, clean, broken_at(eps, found)))
    far = Attacked(large(budgets), clean, broken_at(large(budgets), found))
    flags += of_large_budget(far)
    return tuple(flags), of_what_is_left(far)


def not_finite(runner: Runner, wrong: Measured) -> str:
    """Return where numbers are not finite first on the first image whose logits are not; nothing where all are."""
    strange = wrong.not_finite.nonzero().flatten()[:1]
    return first_not_finite(runner.model.exact, runner.images.batch(strange)[0])[1] if len(strange) else ""


def broken_at(eps: float, found: Sequence[Measured]) -> dict[str, Tensor]:
    """Return what each attack with budget `eps` broke: as it was asked for, together with its probe.

    Where fewer than STEPS steps of PGD were asked for, only the images of the probes count: a weak PGD accuses nobody.
    """
    broken: dict[str, Tensor] = {}
    for each in sorted(found, key=lambda each: -each.measurement.n):
        if each.measurement.plan.eps == eps:
            seen = each.broken if each.measurement.plan.steps >= STEPS else each.broken[:IMAGES]
            mask = broken.setdefault(each.measurement.attack, seen.clone())
            mask[: len(seen)] |= seen
    return broken


def gradient_sizes(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 250) -> Tensor:
    """Return for each image the largest entry of |margin's input gradient|, (N,)."""
    parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
    gradients = (input_gradient(model, *part, torch.zeros_like(part[0]), objective=margin) for part in parts)
    return torch.cat([gradient.abs().flatten(1).amax(1) for gradient in gradients])
