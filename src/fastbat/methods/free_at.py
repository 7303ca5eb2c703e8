"""FREE-AT (Shafahi et al., 2019): every backward pass trains the weights and moves the perturbation.

each minibatch is replayed m times; d starts at 0 and lives on from minibatch to minibatch
theta <- theta - alpha grad_theta mean CE(x + d);  d <- P(d + eps sign grad_d CE(x + d)), both from one backward pass

As in the code of Wong et al. (2020), d comes to the next minibatch as it is: its first x + d may leave [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.errors import check_count
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import Batch, Method, Traits, grad_of, load_memory, memory_state, training_loss


@dataclass(frozen=True)
class FreeAT(Method):
    """FREE-AT: each batch is replayed, and every backward pass moves weights and perturbation.

    BatchNorm sees one pass a replay, at d.
    """

    eps: float
    replays: int = 8
    """How often each minibatch is presented, m."""
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = memory_state, load_memory

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_count("replays", self.replays)

    @property
    def traits(self) -> Traits:
        """10 epochs of 8 replays; a peak learning rate of 0.04 for 0.2."""
        lost = "FREE-AT carries one perturbation from batch to batch; images that change size lose it"
        return Traits(replays=self.replays, epochs=10, lr_scale=0.2, needs={"size": lost}, memory={"delta": "place"})

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x + d); after its backward pass d has taken its step."""
        x = batch.x
        box = Box(x, self.eps)
        memory = self.memory.get("delta", torch.zeros_like(x))
        if len(memory) < len(x):  # a larger batch than any before starts its further rows at 0
            memory = torch.cat([memory, torch.zeros_like(x[len(memory) :])])
        delta = memory[: len(x)].clamp(-self.eps, self.eps).requires_grad_()  # of a larger budget, perhaps
        batch.log["active"] = 1 - box.interior(delta.detach()).mean()
        yield training_loss(model(x + delta), batch)
        moved = box.project(delta.detach() + self.eps * grad_of(delta).sign())
        self.memory["delta"] = torch.cat([moved, memory[len(x) :]])
