"""YOPO-K-n (Zhang et al., 2019): full passes through the network K times, many steps through its first layer f0.

d = P(U(-eps, eps)); K times:
    backward of mean CE(x + d)                          the weights' gradients add up
    p = -grad of that loss with respect to f0's output, held constant
    d <- P(d - step sign grad_d <p, f0(x + d)>), n times          descent on the Hamiltonian H
    backward of -H(d)                                    f0's gradients add up: 2K in all, the other layers K
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.errors import InputError
from fastbat.geometry import Box, check_eps, step_size
from fastbat.methods.method import LabelledBatch


@dataclass(frozen=True)
class Yopo:
    """YOPO-5-3. BatchNorm sees K passes; f0 is the first convolution or linear layer that runs."""

    eps: float
    outer: int = 5
    """Full forward and backward passes, K; the learning rate is divided by it."""
    inner: int = 3
    """Steps through the first layer after each of them, n."""
    step: float | None = field(default=None, metadata={"per_eps": True})
    """Size of such a step on the [0, 1] scale; eps / 4 unless given."""
    stats: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        x, y = batch.x, batch.y
        box, first = Box(x, self.eps), first_layer(model, x)

        def f0(delta: Tensor) -> Tensor:
            return run_until([first], model, x + delta)[1]

        delta = box.uniform()
        for _ in range(self.outer):
            seen: list[Tensor] = []
            with first.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out) or out.clone()):
                loss = F.cross_entropy(model(x + delta), y)
            seen[0].retain_grad()
            yield loss
            if seen[0].grad is None:
                raise RuntimeError("YOPO reads the gradient at its first layer: call backward() on the loss it yields")
            p = -seen[0].grad
            for _ in range(self.inner):
                delta = delta.detach().requires_grad_()
                slope = torch.autograd.grad((p * f0(delta)).sum(), delta)[0]
                delta = box.project(delta.detach() - self.step * slope.sign())
            yield -(p * f0(delta)).sum()
        self.stats["active"] = 1 - box.interior(delta).mean()


class _ReachedError(Exception):
    """Raised by the hook of `run_until` with a layer and its output, so that the rest of the model does not run."""


def run_until(layers: Iterable[nn.Module], model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """Return the one of `layers` that is done first when `model` runs on x, and its output; no more is computed."""

    def stop(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        raise _ReachedError(layer, output)

    hooks = [layer.register_forward_hook(stop) for layer in layers]
    try:
        model(x)
    except _ReachedError as reached:
        layer, output = reached.args
        return layer, output
    finally:
        for hook in hooks:
            hook.remove()
    raise InputError("YOPO needs a first layer to split off: the model has no convolution and no linear layer")


@torch.no_grad()
def first_layer(model: nn.Module, x: Tensor) -> nn.Module:
    """Return the first convolution or linear layer that runs when `model` does, wherever it was registered."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    return run_until([module for module in model.modules() if isinstance(module, kinds)], model, x)[0]
