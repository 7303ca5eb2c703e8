"""TDAT (Tong et al., 2024): targets that soften as the training goes, and weights for the images that are still wrong.

    gamma = max(beta tan(1 - t), gamma_min), t the share of the training that is done
    d = P(D + eps sign grad CE(f(x + D), T)),  T: gamma on the true class, (1 - gamma) / (K - 1) on each other;  D <- d
    theta <- theta - alpha grad [ CE(f(x + d), T') + lambda mean tanh(1 - p) |f(x + D) - f(x + d)|^2 ]

T' spreads 1 - gamma over all classes, p = softmax(f(x + D))_y, and the gradient passes through all of the second term.
D is kept by an image's place in its batch: each step starts from the last batch's d. D starts at eps sign U(-1, 1),
and is not projected before its step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.attacks.gradient import logits_and_gradient
from fastbat.errors import InputError, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.method import Batch, Method, Traits, load_memory, memory_state, required
from fastbat.methods.targets import check_share, relaxed, smoothed, target_loss, toward
from fastbat.randomness import uniform_like

ABOVE_1 = 1.0000001  # the authors' 1 in 1 - p


@dataclass(frozen=True)
class Tdat(Method):
    """TDAT: targets that soften, and logits that may not move where the network is wrong.

    Needs each batch's progress. BatchNorm sees two passes, at x + D and at x + d.
    """

    eps: float
    beta: float = 0.6
    """Scale of the share gamma on the true class, beta tan(1 - t) of the training's share t."""
    gamma_min: float = 0.15
    """Least share on the true class: 0.15 on CIFAR-10, 0.05 on CIFAR-100, 0.025 on Tiny-ImageNet."""
    consistency: float = field(default=0.6, metadata={"published": 0.65})
    """Weight lambda of the squared change of the logits."""
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = memory_state, load_memory

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if not 0 <= self.beta * math.tan(1) <= 1:
            raise InputError(f"beta is {self.beta:g}; it must lie in [0, 0.642]: beta tan(1) is a share of a target")
        check_share("gamma_min", self.gamma_min)
        check_weight("consistency", self.consistency)

    @property
    def traits(self) -> Traits:
        """Images keep their size, that of the perturbations."""
        lost = "TDAT carries attacks from batch to batch; images that change size lose them"
        return Traits(needs={"size": lost}, memory={"delta": "place"})

    def gamma(self, progress: float) -> float:
        """Return the share on the true class when a share `progress` of the training is done."""
        return max(self.beta * math.tan(1 - progress), self.gamma_min)

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield CE(f(x + d), T') plus the weighted change of the logits."""
        x, y, box, gamma = batch.x, batch.y, Box(batch.x, self.eps), self.gamma(required(batch, "progress"))
        start = self.recall(x)
        first, g = logits_and_gradient(model, x, y, start, objective=toward(relaxed(gamma)))
        delta = box.project(start + self.eps * g.sign())
        self.memory["delta"] = torch.cat([delta, self.memory["delta"][len(x) :]]) if self.memory else delta
        batch.log.update(active=1 - box.interior(delta).mean(), gamma=x.new_full((), gamma))
        logits = model(x + delta)
        p = first.softmax(1).gather(1, y[:, None])[:, 0]
        moved = (torch.tanh(ABOVE_1 - p) * (first - logits).square().sum(1)).mean()
        yield target_loss(logits, batch, smoothed(1 - gamma)) + self.consistency * moved

    def recall(self, x: Tensor) -> Tensor:
        """Return D (B, C, H, W); a larger batch than any before starts its further rows at new corners.

        What a larger budget left behind is cut to eps.
        """
        kept = self.memory.get("delta", x[:0])[: len(x)].clamp(-self.eps, self.eps)
        return kept if len(kept) == len(x) else torch.cat([kept, self.eps * uniform_like(x).sign()[len(kept) :]])
