"""FGSM-RS-CS (Zhao et al., 2023): one step from noise, soft targets, and a loss that may not jump between epochs.

n = U(-eps, eps), clipped to the images' box;  d = n + eps sign g(n), clipped to the images' box, not to the eps ball
T = 0.6 on the true class, 0.4 / (K - 1) on each other;  c = mean CE(x + n, T), C its mean over the epoch before
theta <- theta - alpha grad [ mean CE(x + d, T) + w s c ],  s = sign(c - C) where |c - C| > 0.03, else 0

s is 0 in the first two epochs. An epoch is over when an image comes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.attacks.gradient import logits_and_gradient
from fastbat.data.images import sent
from fastbat.errors import InputError, check_weight
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import Batch, Traits, load_memory, memory_state
from fastbat.methods.n_fgsm import NFGSM
from fastbat.methods.per_image import grown


@dataclass(frozen=True)
class FgsmRsCs(NFGSM):
    """FGSM-RS-CS: one step from noise, not cut to the eps ball, and a constraint on how the loss converges.

    Needs each image's index, unless `constraint` is 0. BatchNorm sees two passes, at n and at d.
    """

    noise_ratio: float = 1.0
    target_mass: float = 0.6
    constraint: float = field(default=1.0, metadata={"published": 1.0})
    """Weight w of the loss at x + n where it leaves the mean of the epoch before; 0: no constraint."""
    tolerance: float = 0.03
    """How far that loss may be from the mean of the epoch before."""
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = memory_state, load_memory

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("constraint", "tolerance"):
            check_weight(name, getattr(self, name))

    @property
    def traits(self) -> Traits:
        """It compares the loss with that of the epoch before, which is over when an image comes again."""
        return Traits(memory={"visits": "image", **dict.fromkeys(("epoch", "total", "images", "before"), "all")})

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x + d, T) + w s c."""
        if not self.constraint:
            yield from super().losses(model, batch)
            return
        noise = self.noise(batch.x)
        first, g = logits_and_gradient(model, batch.x, batch.y, noise)
        c = self.loss(first, batch)
        s = self.turn(c.detach(), batch)
        batch.log["constrained"] = s.abs()
        yield self.loss(model(batch.x + self.stepped(batch.x, noise, g)), batch) + self.constraint * s * c

    def turn(self, c: Tensor, batch: Batch) -> Tensor:
        """Return s, 0-d: 1 if c is too large, -1 if it is too small, else 0; remember c for the next epoch."""
        if batch.index is None:
            raise InputError("FGSM-RS-CS compares epochs: its batches need each image's index, or constraint 0")
        memory, images, c = self.memory, batch.images, batch.averaged(c)
        if not memory:
            zero = c.new_zeros(())
            memory.update(visits=zero.long().new_zeros(0), epoch=zero.long(), total=zero, images=zero, before=zero)
        memory["visits"] = grown(memory["visits"], int(batch.index.max()) + 1)
        index = sent(batch.index, c.device)
        again = batch.total((memory["visits"][index] > memory["epoch"]).sum()) > 0
        memory["visits"][index] += 1
        memory["epoch"] = memory["epoch"] + again
        memory["before"] = torch.where(again, memory["total"] / memory["images"], memory["before"])
        memory["total"] = torch.where(again, 0.0, memory["total"]) + images * c
        memory["images"] = torch.where(again, 0.0, memory["images"]) + images
        change = c - memory["before"]
        leaves = (change.abs() > self.tolerance) & (memory["epoch"] >= 2)
        return torch.where(leaves, change.sign(), 0.0)
