"""Modes that a model is in within a block, and out of afterwards.

frozen                 eval mode, constant weights, plain float32: a model that is measured
eval_mode              eval mode alone: an attack made while the model is trained (TRADES, ATTA, BACKSMOOTH)
frozen_weights         constant weights alone: a pass that needs the gradient of the images
statistics_kept        BatchNorm counts nothing
twice_differentiable   attention has a second derivative
backward_twice         two backward passes through one pass of a compiled network
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from fastbat.lazy import nn, torch


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """Within the block every model is in eval mode, their weights take no gradients, and float32 means float32.

    No autocast, no TF32 or bf16 inside matrix products, whatever the caller has set; gradients are on, also within
    the caller's no_grad. Afterwards each module's mode, each weight's requires_grad, the precision and torch's
    generators are as they were.
    """
    from fastbat.runtime.precision import ieee_float32  # here, for it imports torch

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
                _freeze(model)
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for weight, required in gradients:
                weight.requires_grad_(required)


def _freeze(model: nn.Module) -> None:
    try:
        model.eval()
    except NotImplementedError:  # an exported program's module; it has one mode
        for module in model.modules():
            module.training = False
    model.requires_grad_(False)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode within the block, and back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def frozen_weights(model: nn.Module) -> Iterator[None]:
    """Hold the weights constant within the block: a compiled network's backward pass would find their gradients too."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Let BatchNorm count nothing within the block."""
    norms = (m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm))
    layers = [layer for layer in norms if layer.training and layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def twice_differentiable() -> AbstractContextManager[None]:
    """Keep attention within the block off its fused kernels, which have no second derivative."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def backward_twice() -> AbstractContextManager[None]:
    """Let a network that is compiled within the block keep for a second backward pass what the first one reads.

    Compiled as usual it gives that memory away, and refuses `retain_graph`.
    """
    from torch._functorch import config

    kept: AbstractContextManager[None] = config.patch(donated_buffer=False)
    return kept
