"""g(d) = grad_d of the summed objective = -grad_d l_atk; with the default, CE, l_atk = -l_tr (Sec. 3)."""

from __future__ import annotations

from fastbat.attacks.objective import Objective, cross_entropy
from fastbat.lazy import Tensor, nn, torch
from fastbat.runtime.modes import backward_twice, frozen_weights, twice_differentiable


def input_gradient(
    model: nn.Module,
    x: Tensor,  # (B, C, H, W) in [0, 1]
    y: Tensor,  # (B,) labels
    delta: Tensor,  # (B, C, H, W)
    *,
    objective: Objective = cross_entropy,
    create_graph: bool = False,
) -> Tensor:
    """Return g(delta), shape of x: the direction in which an attack climbs.

    The sum over the batch, not the mean, so that each image's gradient is its own and an unsigned step has
    the paper's size. With `create_graph` the result can be differentiated with respect to the weights.
    """
    delta = delta.detach().requires_grad_()
    with twice_differentiable() if create_graph else frozen_weights(model):
        value = objective(model(x + delta), y)
    return torch.autograd.grad(value, delta, create_graph=create_graph)[0]


def logits_and_gradient(
    model: nn.Module,
    x: Tensor,  # (B, C, H, W) in [0, 1]
    y: Tensor,  # (B,) labels
    delta: Tensor,  # (B, C, H, W)
    *,
    objective: Objective = cross_entropy,
) -> tuple[Tensor, Tensor]:
    """Return f(x + delta) with its graph, and g(delta).

    For a loss that trains the weights on both points of a step: its backward pass goes through these logits, too, and
    no forward pass is made twice. It leaves its gradient in `delta`, if that requires one.
    """
    delta = delta if delta.requires_grad else delta.detach().requires_grad_()
    with backward_twice():
        logits = model(x + delta)
    return logits, torch.autograd.grad(objective(logits, y), delta, retain_graph=True)[0]
