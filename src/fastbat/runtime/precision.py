"""bf16 where it pays: a model's forward pass under autocast; losses, boxes and comparisons stay float32."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def in_precision(model: nn.Module, precision: str) -> nn.Module:
    """Return `model` as it runs in "bf16" or "float32"; it stays the same model."""
    return Autocast(model) if precision == "bf16" else model


def pick_precision(device: torch.device) -> str:
    """Return the precision that training on `device` takes unless another is set."""
    return "bf16" if has_bf16(device) else "float32"


def has_bf16(device: torch.device) -> bool:
    """Say whether `device` multiplies in bf16 itself; elsewhere it is emulated, and slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.9, which knows of one kind alone
        return bool(torch.cpu._is_avx512_bf16_supported())
    return any(there and name.endswith("bf16") for name, there in torch.cpu.get_capabilities().items())


@contextmanager
def ieee_float32() -> Iterator[None]:
    """Within the block float32 is float32: no TF32 or bf16 inside products and convolutions; then as it was."""
    backends: Any = torch.backends
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    places = [backends.cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv]
    before, products = [place.fp32_precision for place in places], _products()
    convolutions = cudnn.conv.fp32_precision == "tf32"
    try:
        _switch(products and "highest", False)
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        _switch(products, convolutions)
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def _products() -> str | None:
    """Return what torch's older switch for products says; None where the newer ones gainsay it, and it is mute."""
    try:
        with _unwarned():
            return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _switch(products: str | None, convolutions: bool) -> None:
    """Set torch's older switches, too: torch.compile reads them, and they may not contradict the newer ones."""
    with _unwarned():
        if products:
            torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextmanager
def _unwarned() -> Iterator[None]:
    """Let torch 2.9 not warn of its older switches within the block: its own compiler reads them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Please use the new API settings", UserWarning)
        yield
