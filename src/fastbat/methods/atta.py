"""ATTA-1 (Zheng et al., 2020): attacks that are carried on from epoch to epoch.

    every training image keeps its perturbation on a padded canvas; the batch's crop and flip cut the window d0 from it
    d = P(d0 + step sign grad_d CE(x + d0)), in eval mode, and is written back to the window
    theta <- theta - alpha grad [ mean CE(x) + 6 mean KL(f(x) || f(x + d)) ]      ("ce": grad mean CE(x + d))

d0 is not projected before its step. The canvas of the clean image is padded with 0.5. Perturbations start, and start
again in epochs 10, 20, ..., at 0.001 N(0, 1). (The authors keep the adversarial images; image plus perturbation is the
same.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from fastbat.attacks.pgd import pgd
from fastbat.data.images import sent
from fastbat.errors import InputError, check_choices, check_count, check_weight
from fastbat.geometry import check_eps, check_step
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import Batch, Method, Traits, load_memory, memory_state, training_loss
from fastbat.methods.per_image import grown
from fastbat.methods.trades import trades_loss
from fastbat.randomness import normal_like
from fastbat.runtime.modes import eval_mode

PADDING = 0.5  # what the authors pad the images with


@dataclass(frozen=True)
class Atta(Method):
    """ATTA-1: every image's attack is carried on from epoch to epoch; TRADES' loss, or CE.

    Needs each image's index and view. BatchNorm sees two passes, at x and at x + d (with CE one, at x + d). The memory
    holds a float32 canvas an image.
    """

    eps: float
    loss: Literal["trades", "ce"] = "trades"
    """The training loss; the attack climbs CE in both."""
    step: float | None = None
    """Size of the step on the [0, 1] scale; 0.015 / 0.031 eps unless given."""
    beta: float = field(default=6.0, metadata={"published": 6.0})
    """Weight of the KL term."""
    reset: int = 10
    """Every N epochs the perturbations start again."""
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = memory_state, load_memory

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_choices(self)
        check_count("reset", self.reset)
        check_step(self.step)
        check_weight("beta", self.beta)

    @property
    def traits(self) -> Traits:
        """It must know where each pixel of a batch comes from."""
        carries = "ATTA carries attacks through crop and flip and back"
        lost = f"{carries}; train it with --rotation 0, and not on a stream"
        return Traits(needs={"view": lost}, memory={"canvas": "image", "visits": "image"})

    @property
    def resolved(self) -> dict[str, Any]:
        """The size of the step for this eps."""
        return {"step": 0.015 / 0.031 * self.eps if self.step is None else self.step}

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield the training loss at the perturbations carried on by one step."""
        index, view = batch.index, batch.view
        if index is None or view is None:
            raise InputError("ATTA carries attacks from epoch to epoch: its batches need each image's index and view")
        inside = view.apply(torch.ones_like(batch.x))
        x, y = torch.where(inside > 0, batch.x, PADDING), batch.y
        self.make_room(int(index.max()) + 1, x, view.pad)
        index = sent(index, x.device)
        canvas = self.recall(index)
        with eval_mode(model):
            delta = pgd(model, x, y, view.window(canvas), eps=self.eps, steps=1, **self.resolved)
        view.put(canvas, delta)
        self.memory["canvas"][index] = canvas
        self.memory["visits"][index] += 1
        if self.loss == "trades":
            yield trades_loss(model, x, delta, batch, self.beta)
        else:
            yield training_loss(model(x + delta), batch)

    def recall(self, index: Tensor) -> Tensor:
        """Return the canvases (B, C, H + 2 pad, W + 2 pad) of the images `index`, new noise where it is time.

        What a larger budget left behind is cut to eps.
        """
        canvas, epoch = self.memory["canvas"][index].clamp(-self.eps, self.eps), self.memory["visits"][index] + 1
        fresh = (epoch == 1) | (epoch % self.reset == 0)
        return torch.where(fresh[:, None, None, None], 0.001 * normal_like(canvas), canvas)

    def make_room(self, count: int, x: Tensor, pad: int) -> None:
        """Let the memory hold at least `count` images."""
        if not self.memory:
            sides = [side + 2 * pad for side in x.shape[2:]]
            visits = torch.zeros(0, dtype=torch.int64, device=x.device)
            self.memory.update(canvas=x.new_zeros(0, x.shape[1], *sides), visits=visits)
        self.memory.update({name: grown(rows, count) for name, rows in self.memory.items()})
