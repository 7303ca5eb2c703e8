"""A model held still: eval mode, no weight gradients, plain float32 arithmetic; all put back afterwards."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from fastbat.precision import ieee_float32


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """Within the block every model is in eval mode, their weights take no gradients, and float32 means float32.

    No autocast, no TF32 or bf16 inside matrix products, whatever the caller has set; gradients are on, also within
    the caller's no_grad. Afterwards each module's mode, each weight's requires_grad, the precision and torch's
    generators are as they were.
    """
    modes = [(module, module.training) for model in models for module in model.modules()]
    gradients = [(weight, weight.requires_grad) for model in models for weight in model.parameters()]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(ieee_float32())
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        try:
            for model in models:
                _still(model)
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for weight, required in gradients:
                weight.requires_grad_(required)


def _still(model: nn.Module) -> None:
    try:
        model.eval()
    except NotImplementedError:  # an exported program's module; it has one mode
        for module in model.modules():
            module.training = False
    model.requires_grad_(False)
