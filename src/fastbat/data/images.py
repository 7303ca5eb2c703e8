"""Decoded images in memory: uint8, with labels, class names and a fingerprint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from fastbat.lazy import Tensor, torch


@dataclass(frozen=True)
class Images:
    """Labelled images of one size."""

    pixels: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    classes: tuple[str, ...]
    fingerprint: str  # SHA-256 over shape, pixels and labels of the set this was taken from

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.pixels.shape[1]

    def slice(self, start: int, stop: int | None) -> Images:
        """Return images start..stop, in order; the fingerprint stays that of the whole set."""
        return replace(self, pixels=self.pixels[start:stop], labels=self.labels[start:stop])

    def take(self, which: Tensor) -> Images:
        """Return the images where `which` (N,) is true, in order; the fingerprint stays that of the whole set."""
        return replace(self, pixels=self.pixels[which], labels=self.labels[which])

    def to(self, device: torch.device) -> Images:
        """Return the same images on `device`."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))

    def decoded(self) -> Images:
        """Return these images themselves; a streamed set gives its own, decoded."""
        return self

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return x (N, C, H, W) float32 in [0, 1] and y (N,) int64."""
        return unit(self.pixels), self.labels


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` on `device`; a GPU is sent it from pinned memory, without waiting for what runs there."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def unit(pixels: Tensor) -> Tensor:
    """Return bytes as float32 in [0, 1], and anything else as it is."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def mean_and_std(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of bytes (N, C, H, W) in [0, 1]; 1 for the std of a constant."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = [torch.bincount(channel.flatten(), minlength=256).double() for channel in pixels.unbind(1)]
    means = [float(count @ levels / count.sum()) for count in counts]
    stds = [float(n @ (levels - mean) ** 2 / n.sum()) ** 0.5 for n, mean in zip(counts, means, strict=True)]
    return tuple(round(mean, 6) for mean in means), tuple(round(std, 6) or 1.0 for std in stds)


def fingerprint(pixels: Tensor, labels: Tensor) -> str:
    """Return the SHA-256 over shape, pixels and labels, in hexadecimal."""
    digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
    digest.update(pixels.contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()
