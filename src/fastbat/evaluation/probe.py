"""What the red flags are judged by beside what was asked for: a few cheap attacks on the first images.

noise, fgsm, pgd    within the budget; pgd with 20 steps from one start
pgd                 at 64/255, or four times the budget where that is more: nothing should withstand it
square              with 300 queries
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fastbat.attacks import input_gradient
from fastbat.attacks.objective import margin
from fastbat.data import unit
from fastbat.evaluation.blocks import Found, Job, Work
from fastbat.evaluation.flags import Evidence, passes
from fastbat.evaluation.rounds import Plan

IMAGES = 250
LARGE_EPS = 64 / 255


def probes(plan: Plan, n: int, asked: Sequence[Job]) -> list[Job]:
    """Return the attacks to add to those asked for, on the first IMAGES of `n` images."""
    few = min(n, IMAGES)
    near = replace(plan, steps=20, restarts=1, queries=300)
    far = replace(near, eps=large_eps(plan.eps))
    added = [Job(name, near, few) for name in ("noise", "fgsm", "pgd", "pgd-margin", "square")] + [Job("pgd", far, few)]
    names = {job.name for job in asked}
    return [job for job in added if job.name not in names]


def large_eps(eps: float) -> float:
    """Return a budget at which nothing should be robust."""
    return min(1.0, max(LARGE_EPS, 4 * eps))


def gather_evidence(work: Work, found: Mapping[str, Found], eps: float, white_box: bool) -> Evidence:
    """Return what the flags are judged by: the attacks of `found` at `eps`, on the images that all have seen."""
    few = min(len(work.y), IMAGES)
    x, y = unit(work.x[:few].to(work.device)), work.y[:few].to(work.device)
    seen = passes(work.model, x[: work.batch_size])
    clean = work.clean[:few]
    if not white_box:
        return Evidence(int(clean.sum()), {}, large_eps(eps), None, **seen)
    at = f"@{255 * eps:g}"
    broken = {name.removesuffix(at): what.broken[:few][clean] for name, what in found.items() if name.endswith(at)}
    broken["large-eps"] = found[f"pgd@{255 * large_eps(eps):g}"].broken[:few][clean]
    parts = zip(x.split(work.batch_size), y.split(work.batch_size), strict=True)
    sizes = torch.cat([gradient_sizes(work.model, *part) for part in parts])
    return Evidence(int(clean.sum()), broken, large_eps(eps), sizes, **seen)


def gradient_sizes(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return for each image the largest entry of |margin's input gradient|, (B,)."""
    gradient = input_gradient(model, x, y, torch.zeros_like(x), objective=margin)
    return gradient.abs().flatten(1).amax(1)
