"""Standard training, no attack: theta <- theta - alpha grad mean CE(x)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import InitVar, dataclass

from fastbat.lazy import Tensor, nn
from fastbat.methods.method import Batch, Method, training_loss


@dataclass(frozen=True)
class Standard(Method):
    """Standard training: the undefended model, and the surrogates of the transfer attack.

    Takes `eps` so that every method is built alike, and sets it to 0: there is no budget to train against.
    BatchNorm sees one pass, over clean images.
    """

    eps: InitVar[float] = 0.0

    def __post_init__(self, eps: float) -> None:
        """Leave `eps` at 0."""

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x)."""
        yield training_loss(model(batch.x), batch)
