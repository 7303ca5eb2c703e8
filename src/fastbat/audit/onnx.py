"""An ONNX model as a black box: images go in, logits come out, and there is no gradient to climb."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fastbat.errors import InputError

try:
    import onnxruntime
except ImportError as missing:
    raise InputError("an .onnx model needs onnxruntime: pip install fastbat[onnx]") from missing


class Onnx(nn.Module):
    """The model of an .onnx file: float32 images (B, C, H, W) in [0, 1] to its first output, on the CPU."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            why = " ".join(str(error).split())
            raise InputError(f"{str(path)!r} is no ONNX model that onnxruntime runs ({why}); export it anew") from error
        first, *others = self.session.get_inputs()
        if others or first.type != "tensor(float)":
            raise InputError(
                f"{str(path)!r} takes {1 + len(others)} inputs, the first {first.type}; expected one, float"
            )
        self.name, batch = first.name, (first.shape or [None])[0]
        self.batch = batch if isinstance(batch, int) else None  # of a model exported for one size of batch

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes), without a gradient."""
        images = x.detach().cpu().numpy().astype(np.float32)
        size = self.batch or len(images)
        parts = [self.logits(images[i : i + size], size) for i in range(0, len(images), size)]
        return torch.from_numpy(np.concatenate(parts)).to(x.device)

    def logits(self, images: np.ndarray, size: int) -> np.ndarray:
        """Run one batch, filled up with zeros where the model takes no smaller one."""
        filled = np.zeros((size, *images.shape[1:]), np.float32)
        filled[: len(images)] = images
        try:
            found: np.ndarray = self.session.run(None, {self.name: filled})[0]
        except Exception as error:
            raise ValueError(" ".join(str(error).split())) from error
        return found[: len(images)]
