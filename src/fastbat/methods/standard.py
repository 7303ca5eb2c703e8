"""Standard training, no attack: theta <- theta - alpha grad mean CE(x)."""

from collections.abc import Iterator
from dataclasses import InitVar, dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.methods.method import LabelledBatch


@dataclass(frozen=True)
class Standard:
    """Standard training: the undefended model, and the surrogates of the transfer attack.

    Takes `eps` so that every method is built alike, and drops it: `Standard(eps=8 / 255).eps` is 0.
    BatchNorm sees one pass, over clean images.
    """

    eps: InitVar[float] = 0.0
    stats: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def losses(self, model: nn.Module, batch: LabelledBatch) -> Iterator[Tensor]:
        """Yield mean CE(x)."""
        yield F.cross_entropy(model(batch.x), batch.y)
