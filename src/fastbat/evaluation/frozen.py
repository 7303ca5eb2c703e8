"""A model held still: eval mode, no weight gradients, plain float32 arithmetic; all put back afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within the block `model` is in eval mode, its weights take no gradients, and CUDA does not round to TF32.

    Afterwards each module's mode, each weight's requires_grad and torch's generators are as they were.
    """
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(weight, weight.requires_grad) for weight in model.parameters()]
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    model.eval()
    model.requires_grad_(False)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
        for module, mode in modes:
            module.training = mode
        for weight, required in gradients:
            weight.requires_grad_(required)
