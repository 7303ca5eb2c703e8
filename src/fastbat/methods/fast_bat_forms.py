"""FAST-BAT's update in one loss of the value mean CE(x + d*), whose gradient holds the implicit term.

    hessian-free     L(d* + ig - [ig]),  ig = c interior(d*) * g, [.] held constant: by the chain rule Eq. 13
    hessian-aware    L(d*) + c lambda <g(d*), w>,  w = E (E' (H + lambda I) E)^-1 E' grad_d L(d*)      Prop. 1, Eq. 23

Both differentiate twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import Objective
from fastbat.geometry import Box
from fastbat.implicit import solve
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import Batch, training_loss
from fastbat.runtime.modes import twice_differentiable

if TYPE_CHECKING:
    from fastbat.methods.fast_bat import FastBAT


def hessian_free(
    method: FastBAT, model: nn.Module, batch: Batch, box: Box, z: Tensor, objective: Objective, c: float
) -> Tensor:
    """Return the loss; the mixed derivative is that at z, or with mixed_at "delta", after one more pass, at d*."""
    x, y, at_z = batch.x, batch.y, method.mixed_at == "z"
    g = input_gradient(model, x, y, z, objective=objective, create_graph=at_z)
    delta = box.project(z + method.a * g.detach())
    interior = box.interior(delta)
    batch.log["active"] = 1 - interior.mean()
    if not at_z:
        g = input_gradient(model, x, y, delta, objective=objective, create_graph=True)
    ig = c * interior * g
    return training_loss(model(x + (delta + (ig - ig.detach()))), batch)


def hessian_aware(
    method: FastBAT, model: nn.Module, batch: Batch, box: Box, z: Tensor, objective: Objective, c: float
) -> Tensor:
    """Return the loss; the mixed derivative is that at d*."""
    delta = box.project(z + method.a * input_gradient(model, batch.x, batch.y, z, objective=objective))
    interior = box.interior(delta)
    batch.log["active"] = 1 - interior.mean()
    return with_inverse(model, batch, delta, interior, objective, method.a, c)


def with_inverse(
    model: nn.Module, batch: Batch, delta: Tensor, interior: Tensor, objective: Objective, a: float, c: float
) -> Tensor:
    """Return L(delta) with the gradient of c lambda <g(delta), w> added, lambda = 1 / a and w as in Eq. 23."""
    x, y, delta = batch.x, batch.y, delta.detach().requires_grad_()
    with twice_differentiable():
        logits = model(x + delta)
    loss = training_loss(logits, batch)
    (g,) = torch.autograd.grad(objective(logits, y), delta, create_graph=True)
    (v,) = torch.autograd.grad(loss, delta, retain_graph=True)
    found = solve(g, delta, v, interior, 1 / a)
    batch.log.update(
        fallbacks=x.new_tensor(found.fell_back),
        iterations=x.new_tensor(found.iterations),
        residual=x.new_tensor(found.residual),
        hessian=x.new_tensor(found.hessian),
    )
    term = c / a * (g * found.w).sum()
    return loss + (term - term.detach())


ONE_LOSS = {"hessian-free": hessian_free, "hessian-aware": hessian_aware}
