"""NuAT (Sriramanan et al., 2021): clean images, and a batch of logits that the attack may not move.

    d0 = P01(eps / 2 sign U(-1, 1))
    d  = P(d0 + eps sign grad [ CE(f(x + d0)) + [every other batch] mu / B |f(x) - f(x + d0)|_* ]), in eval mode
    theta <- theta - alpha grad [ mean CE(f(x)) + mu / B |f(x) - f(x + d)|_* ],  mu = nuclear t

|.|_* is the nuclear norm, the sum of the singular values, of the (B, K) change of a batch's logits, and t the share of
the training that is done. The gradient passes through both logits. P01 clips to the images' box.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import cross_entropy
from fastbat.errors import check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import Batch, Method, required, training_loss, with_gradient_of
from fastbat.randomness import uniform_like
from fastbat.runtime.modes import eval_mode


@dataclass(frozen=True)
class NuAT(Method):
    """NuAT: CE on clean images, and a nuclear norm of how far one step moves a batch's logits.

    Needs each batch's step and progress. BatchNorm sees two passes, at x and at x + d; the attack is made in eval mode.
    """

    eps: float
    nuclear: float = field(default=4.0, metadata={"published": 4.0})
    """Weight of the nuclear norm over the batch size, at the end of the training; it grows from 0."""

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_weight("nuclear", self.nuclear)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(f(x)) + mu / B |f(x) - f(x + d)|_*."""
        x, y, box = batch.x, batch.y, Box(batch.x, self.eps)
        mu, other = self.nuclear * required(batch, "progress"), required(batch, "step") % 2
        clean = model(x)
        still = clean.detach()
        start = Box(x, 1.0).project(-self.eps / 2 * uniform_like(x).sign())

        def climbed(logits: Tensor, y: Tensor) -> Tensor:
            term = mu * nuclear_norm(batch.whole(still - logits)) if other else 0.0
            return cross_entropy(logits, y) + term

        with eval_mode(model):
            g = input_gradient(model, x, y, start, objective=climbed)
        delta = box.project(start + self.eps * g.sign())
        batch.log["active"] = 1 - box.interior(delta).mean()
        moved = nuclear_norm(batch.whole(clean - model(x + delta)))
        batch.log["nuclear_norm"] = moved.detach() / batch.images
        yield training_loss(clean, batch) + mu * with_gradient_of(moved / len(x), moved / batch.images)


def nuclear_norm(matrix: Tensor) -> Tensor:
    """Return the sum of the singular values of a matrix (B, K)."""
    total: Tensor = torch.linalg.svdvals(matrix).sum()
    return total
