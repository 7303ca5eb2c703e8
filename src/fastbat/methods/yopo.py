"""YOPO-K-n (Zhang et al., 2019): full passes through the network K times, many steps through its first layer f0.

d = U(-eps, eps), not cut to the images' box; K times:
    backward of mean CE(x + d)                          the weights' gradients add up
    p = -grad of that loss with respect to f0's output, held constant
    d <- P(d - step sign grad_d <p, f0(x + d)>), n times          descent on the Hamiltonian H; where x + d is
                                                                   outside [0, 1], d is projected alone
    backward of -H(d)                                    f0's gradients add up: 2K in all, the other layers K
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastbat.attacks.first_layer import run_and_keep, run_until
from fastbat.errors import check_count
from fastbat.geometry import Box, check_eps, check_step
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import Batch, Method, Traits, grad_of, training_loss
from fastbat.randomness import uniform_like


@dataclass(frozen=True)
class Yopo(Method):
    """YOPO-K-n: K full passes, each with n steps through the first layer alone.

    BatchNorm sees K passes; f0 is the first convolution or linear layer that runs.
    """

    eps: float
    outer: int = 5
    """Full forward and backward passes, K; the learning rate is divided by it."""
    inner: int = 3
    """Steps through the first layer after each of them, n."""
    step: float | None = None
    """Size of such a step on the [0, 1] scale; eps / 4 unless given."""

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_count("outer", self.outer)
        check_count("inner", self.inner)
        check_step(self.step)

    @property
    def traits(self) -> Traits:
        """The learning rate is divided by K, whose gradients add up."""
        return Traits(lr_scale=1 / self.outer, splits=True)

    @property
    def resolved(self) -> dict[str, Any]:
        """The size of a step for this eps."""
        return {"step": self.eps / 4 if self.step is None else self.step}

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield 2K losses: K times mean CE(x + d), each followed by -H at the next d."""
        x, step = batch.x, self.resolved["step"]
        box = Box(x, self.eps)
        delta = self.eps * uniform_like(x)
        values = []
        for _ in range(self.outer):
            logits, first, h = run_and_keep(model, x + delta)
            loss = training_loss(logits, batch)
            values.append(loss.detach())
            yield loss
            p = -grad_of(h)
            for _ in range(self.inner):
                delta = delta.detach().requires_grad_()
                slope = torch.autograd.grad((p * run_until(first, model, x + delta)).sum(), delta)[0]
                inside = box.project(delta.detach()) == delta
                delta = box.project(delta.detach() - step * slope.sign() * inside)
            yield -(p * run_until(first, model, x + delta)).sum()
        batch.log["loss"] = torch.stack(values).mean()  # of CE: -H is no loss of the network
        batch.log["active"] = 1 - box.interior(delta).mean()
