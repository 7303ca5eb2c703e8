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
from typing import Literal

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import cross_entropy
from fastbat.errors import check_choices, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import F, Tensor, nn, torch
from fastbat.methods.method import LabelledBatch, training_loss
from fastbat.randomness import uniform_like


@dataclass(frozen=True)
class FastATGA:
    """FAST-AT-GA: FAST-AT with a penalty on gradients that do not align.

    BatchNorm sees three passes: at d0, at u, at d.
    """

    eps: float
    mu: float | None = field(default=None, metadata={"per_eps": True, "published": 2.0})
    """Weight of the penalty; 0.02 * 10^(255 eps / 8) unless given: 0.2 at 8/255, 2 at 16/255."""
    init: Literal["zero", "random"] = "zero"
    """d0: zero, plain FGSM in effect (the authors'), or P(U(-eps, eps))."""
    penalty: Literal["double", "tangent"] = "tangent"
    """How its gradient is found: by differentiating twice, or the same by a tangent, cheaper."""
    stats: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_choices(self)
        mu = 0.02 * 10 ** (255 * self.eps / 8) if self.mu is None else self.mu
        check_weight("mu", mu)
        object.__setattr__(self, "mu", mu)

    @property
    def differentiates_twice(self) -> bool:
        """Whether its backward pass goes through the gradient at u."""
        return self.penalty == "double"

    def losses(self, model: nn.Module, batch: LabelledBatch) -> Iterator[Tensor]:
        """Yield mean CE(x + d) plus the alignment penalty."""
        assert self.mu is not None
        x, y = batch.x, batch.y
        box = Box(x, self.eps)
        start = box.uniform() if self.init == "random" else torch.zeros_like(x)
        g = input_gradient(model, x, y, start)
        noise = uniform_like(x) * self.eps
        twice = self.differentiates_twice
        at_noise = input_gradient(model, x, y, noise, create_graph=twice).requires_grad_()
        alignment = mean_cosine(g, at_noise)
        penalty = self.mu * (1 - alignment)
        if not twice:
            from fastbat.tangent import directional

            (w,) = torch.autograd.grad(penalty, at_noise)
            term = directional(model, x + noise, y, w, cross_entropy)
            penalty = penalty.detach() + (term - term.detach())
        delta = box.project(start + 1.25 * self.eps * g.sign())
        self.stats.update(active=1 - box.interior(delta).mean(), alignment=alignment.detach())
        yield training_loss(model(x + delta), batch) + penalty


def cosines(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos(a, b) image by image, (B,), and where it means anything: neither is zero there."""
    a, b = a.flatten(1), b.flatten(1)
    both = (a.abs().amax(1) > 0) & (b.abs().amax(1) > 0)
    a, b = (torch.where(both[:, None], side, 1.0) for side in (a, b))
    a, b = (side / side.abs().amax(1, keepdim=True).detach() for side in (a, b))  # squares underflow else
    return F.cosine_similarity(a, b, eps=0), both


def mean_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of `cosines` where they mean anything; 1 where none does."""
    found, both = cosines(a, b)
    return torch.where(both.any(), (found * both).sum() / both.sum().clamp(min=1), 1.0)
