"""What a training method is: an object that yields losses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Protocol

from fastbat.lazy import F, Tensor, nn, torch


class LabelledBatch(Protocol):
    """What a method reads of a batch. Only the methods with a memory look at `index` and `view`."""

    @property
    def x(self) -> Tensor:
        """Images (B, C, H, W) in [0, 1]."""

    @property
    def y(self) -> Tensor:
        """Labels (B,), int64."""

    @property
    def index(self) -> Any:
        """Each image's place in the data set, (B,) int64, or None."""

    @property
    def view(self) -> Any:
        """The crop and flip that made x from the stored images, or None."""


class Method(Protocol):
    """A training method. Its constructor takes `eps` on the [0, 1] scale and the method's own fields."""

    def __init__(self, eps: float) -> None: ...

    @property
    def eps(self) -> float:
        """The budget trained against, on the [0, 1] scale; 0 for none."""

    @property
    def stats(self) -> dict[str, Tensor]:
        """What the last call of `losses` measured: 0-d tensors by name."""

    def losses(self, model: nn.Module, batch: LabelledBatch) -> Iterator[Tensor]:
        """Yield the losses whose accumulated gradients make one update; none, and the batch makes no update."""


def training_loss(logits: Tensor, batch: LabelledBatch) -> Tensor:
    """Return the loss that trains the weights, L = mean CE; smoothed labels where the batch says so, in training alone.

    An attack climbs its own objective, on the labels themselves; FREE-AT, YOPO and FAST-BAT's tangent read theirs off
    this loss's backward pass, so that nobody may scale the loss.
    """
    return F.cross_entropy(logits, batch.y, label_smoothing=getattr(batch, "label_smoothing", 0.0))


def beyond_published(method: Any) -> dict[str, str]:
    """Return the weights of the method's losses that are above the largest published one, by name, in words."""
    found = {}
    for field in fields(method):
        value, published = getattr(method, field.name), field.metadata.get("published", float("inf"))
        if isinstance(value, int | float) and value > published * (1 + 1e-6):
            found[field.name] = f"{field.name} is {value:.4g}, above the largest published value, {published:g}"
    return found


def remembered(method: Any) -> dict[str, Tensor]:
    """Return a copy of `method.memory`, as tensors: the state_dict of a method that remembers something."""
    return {name: torch.as_tensor(value).clone() for name, value in method.memory.items()}


def put_back(method: Any, state: dict[str, Tensor]) -> None:
    """Let `method.memory` be what `remembered` returned: its load_state_dict."""
    method.memory.clear()
    method.memory.update({name: tensor.clone() for name, tensor in state.items()})
