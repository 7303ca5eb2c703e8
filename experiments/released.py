"""FAST-BAT's step as its authors run it, written here from their description, with all its passes.

    z  = P(z0 + a g(z0)), d* = P(z + a g(z))        both attack passes keep what a second derivative needs
    v  = grad_d of the summed CE at d*              a pass of its own
    theta <- theta - alpha [ grad (1/B) <g(z), c interior(d*) v> + grad mean CE(x + d*) ]       another pass at d*

and a clean pass in eval mode for the log. In float32, with nothing shared between passes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.data import Batch
from fastbat.geometry import Box
from fastbat.methods import FastBAT, Method, Traits


@dataclass(frozen=True)
class Released(Method):
    """The released step as a method: its two losses have the gradients of the authors' two backward passes."""

    eps: float

    @property
    def traits(self) -> Traits:
        """The implicit term differentiates twice."""
        return Traits(differentiates_twice=True)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield the implicit term, then mean CE(x + d*)."""
        x, y, box = batch.x, batch.y, Box(batch.x, self.eps)
        model.eval()
        with torch.no_grad():
            model(x)
        model.train()
        z, _ = self.attacked(model, x, y, box.uniform(), box)
        delta, g = self.attacked(model, x, y, z, box)
        u = delta.detach().requires_grad_()
        model.requires_grad_(False)
        F.cross_entropy(model(x + u), y, reduction="sum").backward()
        model.requires_grad_(True)
        assert u.grad is not None
        term = (g * (0.1 * box.interior(delta) * u.grad)).sum() / len(y)
        yield term
        batch.log["active"] = 1 - box.interior(delta).mean()
        loss = F.cross_entropy(model(x + delta), y)
        batch.log["loss"] = loss.detach()
        yield loss

    def attacked(self, model: nn.Module, x: Tensor, y: Tensor, start: Tensor, box: Box) -> tuple[Tensor, Tensor]:
        """Return the unsigned step from `start`, and the gradient with its graph."""
        start = start.detach().requires_grad_()
        loss = F.cross_entropy(model(x + start), y, reduction="sum")
        (g,) = torch.autograd.grad(loss, start, create_graph=True)
        return box.project(start + FastBAT(self.eps, lam="released").a * g.detach()), g
