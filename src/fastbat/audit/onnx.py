"""An ONNX model as a black box: images go in, logits come out, and there is no gradient to climb."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.errors import InputError

try:
    import onnxruntime
except ImportError as missing:
    raise InputError("an .onnx model needs onnxruntime: pip install onnxruntime") from missing


class Onnx(nn.Module):
    """The model of an .onnx file: float32 images (B, C, H, W) in [0, 1] to its first output, on the CPU."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            why = " ".join(str(error).split())
            raise InputError(
                f"{str(path)!r} is no ONNX model that onnxruntime runs ({why}); export it again"
            ) from error
        inputs = self.session.get_inputs()
        if [each.type for each in inputs] != ["tensor(float)"]:
            found = ", ".join(each.type for each in inputs) or "none"
            raise InputError(f"{str(path)!r} takes as inputs: {found}; expected one tensor(float)")
        self.name, batch = inputs[0].name, (inputs[0].shape or [None])[0]
        self.batch = batch if isinstance(batch, int) else None  # of a model exported for one size of batch

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes), without a gradient; zeros fill up a batch whose size the model fixes."""
        size, logits = self.batch or len(x), list[Tensor]()
        for part in x.detach().float().cpu().split(size):
            filled = F.pad(part, (0, 0) * 3 + (0, size - len(part))).contiguous().numpy()
            try:
                found = self.session.run(None, {self.name: filled})[0]
            except Exception as error:
                raise ValueError(" ".join(str(error).split())) from error
            logits.append(torch.from_numpy(found[: len(part)]))
        return torch.cat(logits).to(x.device)
