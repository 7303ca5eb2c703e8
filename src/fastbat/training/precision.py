"""The model's forward pass in bf16, and nothing else: losses, boxes and the interior's comparison stay float32."""

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
