"""How much of an update's gradient the second of its two losses brings: |gradient of the second| / |of the first|."""

from __future__ import annotations

from fastbat.lazy import Tensor, nn


def gradients(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """Return a copy of the gradients that the weights of `model` have so far."""
    return [(weight, weight.grad.clone()) for weight in model.parameters() if weight.grad is not None]


def share(first: list[tuple[nn.Parameter, Tensor]]) -> Tensor:
    """Return the norm of what came on top of the gradients `first`, in units of theirs, 0-d."""
    added = [weight.grad - before for weight, before in first if weight.grad is not None]
    rest = nn.utils.get_total_norm([before for _, before in first]).clamp_min(1e-30)
    return nn.utils.get_total_norm(added) / rest
