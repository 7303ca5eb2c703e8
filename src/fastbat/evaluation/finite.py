"""Where logits that are no numbers come from."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def first_not_finite(model: nn.Module, x: Tensor) -> str:
    """Return what is the first not to be finite when `model` runs on x: a weight, the output of a layer, or nothing."""
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and (bad := int((~tensor.isfinite()).sum())):
            return f"{name} holds {bad} values of {tensor.numel()} that are not"
    layers: list[str] = []
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.enter_context(
                module.register_forward_hook(_noting(f"{name or 'the model'} ({type(module).__name__})", layers))
            )
        model(x)
    return f"first in the output of {layers[0]}" if layers else "no layer says where"


def _noting(name: str, layers: list[str]) -> Any:
    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and not output.isfinite().all():
            layers.append(name)

    return note
