"""FAST-AT-GA (Andriushchenko & Flammarion, 2020): FAST-AT from zero, with aligned input gradients.

    d = P(P(d0) + 1.25 eps sign g(d0)),  d0 = 0
    theta <- theta - alpha grad [ mean CE(x + d) + mu (1 - mean cos(g(d0), g(u))) ],  u = U(-eps, eps)

g(d0) is held constant, g(u) keeps its graph, and u is not clipped to the images' box. Images on which either gradient
is zero are left out of the mean; where none is left there is no penalty. With w = grad_g(u) of the penalty held
constant, its gradient is grad_theta <g(u), w>: of the derivative of the summed CE at u along w ("tangent").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from fastbat.attacks.alignment import cosines
from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import cross_entropy
from fastbat.errors import check_choices, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, lazy_function, nn, torch
from fastbat.methods.method import Batch, Method, Traits, training_loss, with_gradient_of
from fastbat.randomness import uniform_like

directional = lazy_function("fastbat.tangent", "directional")


@dataclass(frozen=True)
class FastATGA(Method):
    """FAST-AT-GA: FAST-AT with a penalty on gradients that do not align.

    BatchNorm sees three passes: at d0, at u, at d.
    """

    eps: float
    mu: float | None = field(default=None, metadata={"published": 2.0})
    """Weight of the penalty; 0.02 * 10^(255 eps / 8) unless given: 0.2 at 8/255, 2 at 16/255."""
    init: Literal["zero", "random"] = "zero"
    """d0: zero, plain FGSM in effect (the authors'), or P(U(-eps, eps))."""
    penalty: Literal["double", "tangent"] = "tangent"
    """How its gradient is found: by differentiating twice, or the same by a tangent, cheaper."""

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_choices(self)
        check_weight("mu", self.resolved["mu"])

    @property
    def resolved(self) -> dict[str, Any]:
        """The weight of the penalty for this eps."""
        return {"mu": 0.02 * 10 ** (255 * self.eps / 8) if self.mu is None else self.mu}

    @property
    def traits(self) -> Traits:
        """Whether its backward pass goes through the gradient at u."""
        return Traits(differentiates_twice=self.penalty == "double", once="penalty tangent")

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x + d) plus the alignment penalty."""
        x, y, box = batch.x, batch.y, Box(batch.x, self.eps)
        start = box.uniform() if self.init == "random" else torch.zeros_like(x)
        g = input_gradient(model, x, y, start)
        noise = uniform_like(x) * self.eps
        twice = self.traits.differentiates_twice
        at_noise = input_gradient(model, x, y, noise, create_graph=twice).requires_grad_()
        alignment = mean_cosine(g, at_noise, batch)
        penalty = self.resolved["mu"] * (1 - alignment)
        if not twice:
            (w,) = torch.autograd.grad(penalty, at_noise)
            term = directional(model, x + noise, y, w, cross_entropy)
            penalty = with_gradient_of(term, penalty)
        delta = box.project(start + 1.25 * self.eps * g.sign())
        batch.log.update(active=1 - box.interior(delta).mean(), alignment=alignment.detach())
        yield training_loss(model(x + delta), batch) + penalty


def mean_cosine(a: Tensor, b: Tensor, batch: Batch) -> Tensor:
    """Return this process's part of the mean of `cosines` over the batch, where they mean anything; 1 where none does.

    The mean over all processes, by images, is that mean.
    """
    found, both = cosines(a, b)
    count = batch.total(both.sum())
    mean = (found * both).sum() / count.clamp(min=1) * (batch.images / len(batch.y))
    return torch.where(count > 0, mean, 1.0)
