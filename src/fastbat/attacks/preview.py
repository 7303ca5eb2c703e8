"""A preview of AutoAttack: margins to the likeliest classes, climbed from outside of the budget to the inside.

    t_1, ..., t_5     the likeliest wrong classes, by the logits where PGD-10 on CE ends (steps of eps / 4)
    for each of them, from U(-eps, eps), for s = 1/2, 1/4, 1/8:
        10 steps      d <- P_r(d + s eps sign grad (f_t - f_y)(x + d)),  r = (1 + s) eps
        10 steps      the same with r = eps
        10 steps      the same with r = eps, from P_(1 - s)eps(d) + U(-s eps, s eps)

P_r projects onto the box of budget r. An image leaves when an iterate within eps is misclassified. It leaves a class if
after the second ten steps the margin f_y - f_t is above s times that of the clean image. After the
constraint-relaxation attack (fzjcdt/constraint-relaxation-attack), whose steps and whose rule for leaving are others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastbat.attacks.gradient import logits_and_gradient
from fastbat.attacks.objective import Objective
from fastbat.attacks.pgd import pgd
from fastbat.geometry import Box
from fastbat.lazy import Tensor, nn, torch

CLASSES = 5
SHARES = (1 / 2, 1 / 4, 1 / 8)  # s
STEPS = 10  # of PGD, and of each third
PASSES = STEPS + CLASSES * len(SHARES) * 3 * STEPS  # of an image that never leaves

Draw = Callable[[Tensor, str], Tensor]  # (places (n,) of images in x, which draw) -> U(-eps, eps), (n, C, H, W)


def preview(
    model: nn.Module,  # eval mode, weights frozen
    x: Tensor,  # (B, C, H, W) in [0, 1], all classified correctly
    y: Tensor,  # (B,)
    *,
    eps: float,
    draw: Draw,
) -> Tensor:
    """Return x_adv (B, C, H, W): for each image what was found, or an image that fools nobody."""
    rows = torch.arange(len(x), device=x.device)
    start = Box(x, eps).project(draw(rows, "PGD"))
    delta = pgd(model, x, y, start, eps=eps, steps=STEPS, step=eps / 4)
    clean, logits = answers(model, x), answers(model, x + delta)
    likeliest = logits.scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    for rank in range(min(CLASSES, logits.shape[1] - 1)):
        rows = rows[answers(model, (x + delta)[rows]).argmax(1) == y[rows]]
        if not len(rows):
            break
        target = likeliest[:, rank]
        aim = Aim(model, x, y, target, behind(clean, y, target), eps)
        delta[rows] = aim.approached(rows, draw, f"class {rank + 1}")
    return x + delta


@dataclass(frozen=True)
class Aim:
    """Images, and the class that each is moved to."""

    model: nn.Module
    x: Tensor  # (B, C, H, W)
    y: Tensor  # (B,)
    target: Tensor  # (B,)
    clean: Tensor  # (B,): how far the target is behind without an attack
    eps: float

    def approached(self, images: Tensor, draw: Draw, name: str) -> Tensor:
        """Return d (n, C, H, W) of the `images` (n,) where the search for their class ended."""
        rows, delta = images, torch.zeros_like(self.x)
        delta[rows] = draw(rows, f"{name}, start")
        for s in SHARES:
            rows, _ = self.climb(delta, rows, s, 1 + s)
            rows, margin = self.climb(delta, rows, s, 1.0)
            rows = rows[margin <= s * self.clean[rows]]
            if not len(rows):
                break
            inner = Box(self.x[rows], (1 - s) * self.eps).project(delta[rows])
            delta[rows] = inner + s * draw(rows, f"{name}, {s:g}")
            rows, _ = self.climb(delta, rows, s, 1.0)
        return delta[images]

    def climb(self, delta: Tensor, rows: Tensor, s: float, radius: float) -> tuple[Tensor, Tensor]:
        """Move delta[rows] by STEPS steps; return the rows of which no iterate within eps fools, and their margins."""
        margin = delta.new_zeros(len(rows))
        for _ in range(STEPS):
            if not len(rows):
                break
            x, y, target = self.x[rows], self.y[rows], self.target[rows]
            box = Box(x, radius * self.eps)
            here = box.project(delta[rows])
            logits, g = logits_and_gradient(self.model, x, y, here, objective=toward(target))
            robust = (logits.argmax(1) == y) | (radius > 1)
            there = box.project(here + s * self.eps * g.nan_to_num(0.0).sign())
            delta[rows] = torch.where(robust[:, None, None, None], there, here)
            rows, margin = rows[robust], behind(logits.detach(), y, target)[robust]
        return rows, margin


def toward(target: Tensor) -> Objective:
    """Return the summed margin by which the classes `target` (B,) are ahead of the true ones."""
    return lambda logits, y: -behind(logits, y, target).sum()


def behind(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Return the margin (B,) by which the classes `target` are behind the true ones."""
    return (logits.gather(1, y[:, None]) - logits.gather(1, target[:, None]))[:, 0]


@torch.no_grad()
def answers(model: nn.Module, x: Tensor) -> Tensor:
    """Return the logits (B, K)."""
    logits: Tensor = model(x)
    return logits
