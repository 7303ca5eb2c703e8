"""bf16 where it pays: a model's forward pass under autocast; losses, boxes and comparisons stay float32."""

import torch
from torch import Tensor, nn


class Autocast(nn.Module):
    """`model` with its forward pass under bf16 autocast; float32 in, float32 out; shares the model's weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 logits."""
        with torch.autocast(x.device.type, torch.bfloat16):
            logits: Tensor = self.model(x)
        return logits.float()


def has_bf16(device: torch.device) -> bool:
    """Say whether `device` multiplies in bf16 itself; elsewhere it is emulated, and slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(there and name.endswith("bf16") for name, there in torch.cpu.get_capabilities().items())
