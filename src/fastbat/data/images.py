"""Decoded images in memory: uint8, with labels, class names and a fingerprint."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Labelled images of one size."""

    pixels: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    classes: tuple[str, ...]
    fingerprint: str  # SHA-256 over shape, pixels and labels of the set this was taken from

    def __len__(self) -> int:
        return len(self.labels)

    def slice(self, start: int, stop: int | None) -> "Images":
        """Return images start..stop, in order; the fingerprint stays that of the whole set."""
        return replace(self, pixels=self.pixels[start:stop], labels=self.labels[start:stop])

    def to(self, device: torch.device) -> "Images":
        """Return the same images on `device`."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return x (N, C, H, W) float32 in [0, 1] and y (N,) int64."""
        return self.pixels.float() / 255, self.labels


@dataclass(frozen=True)
class Splits:
    """A data set, cut: the last 10 % of the training images are the validation images."""

    train: Images
    validation: Images
    test: Images


def split(train: Images, test: Images) -> Splits:
    """Cut the validation images off the end of `train`: its last tenth, rounded down."""
    cut = len(train) - len(train) // 10
    return Splits(train.slice(0, cut), train.slice(cut, None), test)


def fingerprint(pixels: Tensor, labels: Tensor) -> str:
    """Return the SHA-256 over shape, pixels and labels, in hexadecimal."""
    digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
    digest.update(pixels.numpy().data)
    digest.update(labels.numpy().data)
    return digest.hexdigest()
