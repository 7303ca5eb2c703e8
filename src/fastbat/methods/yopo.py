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
from dataclasses import dataclass, field
from typing import ClassVar

from fastbat.attacks.first_layer import run_and_keep, run_until
from fastbat.errors import InputError
from fastbat.geometry import Box, check_eps, step_size
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import LabelledBatch, training_loss
from fastbat.randomness import uniform_like


@dataclass(frozen=True)
class Yopo:
    """YOPO-K-n: K full passes, each with n steps through the first layer alone.

    BatchNorm sees K passes; f0 is the first convolution or linear layer that runs.
    """

    eps: float
    outer: int = 5
    """Full forward and backward passes, K; the learning rate is divided by it."""
    inner: int = 3
    """Steps through the first layer after each of them, n."""
    step: float | None = field(default=None, metadata={"per_eps": True})
    """Size of such a step on the [0, 1] scale; eps / 4 unless given."""
    stats: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    splits: ClassVar = True

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for name in ("outer", "inner"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; YOPO takes at least one")
        object.__setattr__(self, "step", step_size(self.step, self.eps / 4))

    @property
    def budget(self) -> dict[str, float]:
        """The learning rate is divided by K, whose gradients add up."""
        return {"lr_scale": 1 / self.outer}

    def losses(self, model: nn.Module, batch: LabelledBatch) -> Iterator[Tensor]:
        """Yield 2K losses: K times mean CE(x + d), each followed by -H at the next d."""
        assert self.step is not None
        x = batch.x
        box = Box(x, self.eps)
        delta = self.eps * uniform_like(x)
        values = []
        for _ in range(self.outer):
            logits, first, h = run_and_keep(model, x + delta)
            loss = training_loss(logits, batch)
            values.append(loss.detach())
            yield loss
            if h.grad is None:
                raise RuntimeError("YOPO reads the gradient at its first layer: call backward() on the loss it yields")
            p = -h.grad
            for _ in range(self.inner):
                delta = delta.detach().requires_grad_()
                slope = torch.autograd.grad((p * run_until(first, model, x + delta)).sum(), delta)[0]
                inside = box.project(delta.detach()) == delta
                delta = box.project(delta.detach() - self.step * slope.sign() * inside)
            yield -(p * run_until(first, model, x + delta)).sum()
        self.stats["loss"] = torch.stack(values).mean()  # of CE: -H is no loss of the network
        self.stats["active"] = 1 - box.interior(delta).mean()
