"""The first layer of a network alone: its output in a full pass, and passes that end behind it (YOPO)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from fastbat.errors import InputError
from fastbat.lazy import Tensor, nn


def run_and_keep(model: nn.Module, x: Tensor) -> tuple[Tensor, nn.Module, Tensor]:
    """Return the logits, the first convolution or linear layer that ran, and its output, which keeps its gradient."""
    ran: list[Any] = []

    def keep(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not ran:
            ran.extend((layer, output))
        return output.clone() if layer is ran[0] else output

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
                hooks.enter_context(module.register_forward_hook(keep))
        logits = model(x)
    if not ran:
        raise InputError("YOPO needs a first layer to split off: the model has no convolution and no linear layer")
    if not ran[1].requires_grad:
        raise InputError("YOPO needs the gradient at the first layer, whose weights are frozen; train them, too")
    ran[1].retain_grad()
    return logits, ran[0], ran[1]


class _ReachedError(Exception):
    """Raised by the hook of `run_until` with the layer's output, so that the rest of the model does not run."""


def run_until(layer: nn.Module, model: nn.Module, x: Tensor) -> Tensor:
    """Return the output of `layer` when `model` runs on x; nothing behind it is computed."""

    def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
        raise _ReachedError(output)

    with layer.register_forward_hook(stop):
        try:
            model(x)
        except _ReachedError as reached:
            output: Tensor = reached.args[0]
            return output
    raise RuntimeError(f"{type(model).__name__} did not run its first layer")
