"""Standard training, no attack: theta <- theta - alpha grad mean CE(x)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.lazy import Tensor, nn
from fastbat.methods.method import LabelledBatch, training_loss


@dataclass(frozen=True)
class Standard:
    """Standard training: the undefended model, and the surrogates of the transfer attack.

    Takes `eps` so that every method is built alike, and sets it to 0: there is no budget to train against.
    BatchNorm sees one pass, over clean images.
    """

    eps: float = 0.0
    stats: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", 0.0)

    def losses(self, model: nn.Module, batch: LabelledBatch) -> Iterator[Tensor]:
        """Yield mean CE(x)."""
        yield training_loss(model(batch.x), batch)
