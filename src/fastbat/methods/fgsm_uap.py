"""FGSM-UAP (Pan et al., 2024): every step starts from one universal perturbation, or from its class's.

    d0 = P(u);   d = P(d0 + eps sign g),  g = grad l(f(x + d0), y)
    theta <- theta - alpha grad [ l(f(x + d), y) + 10 mean (f(x + d) - f(x + d0))^2 ]
    h = grad of the batch's mean l(f(x + d0), y) and of that loss, by d0
    m <- mean h / |h|_1 + 0.3 m;   u <- u + 1.25 eps sign m, cut to 1.25 eps

l is CE with label smoothing 0.4, |h|_1 the norm over the whole batch. The mean square is over images and logits, and
its gradient passes through both; so it is in h, too. u starts at 1.25 eps sign U(-1, 1), m at 0. With one u a class,
the mean of h is over the class's images, and the classes that a batch lacks keep their u and m.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from fastbat.attacks.gradient import logits_and_gradient
from fastbat.errors import check_choices, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import F, Tensor, nn, torch
from fastbat.methods.method import Batch, Method, Traits, grad_of, load_memory, memory_state
from fastbat.methods.per_class import classes_of
from fastbat.methods.targets import check_share, smoothed, target_loss, toward
from fastbat.randomness import of_no_image, uniform_like


@dataclass(frozen=True)
class FgsmUap(Method):
    """FGSM-UAP: steps that start from a universal perturbation, and may not move the logits.

    BatchNorm sees two passes, at x + d0 and at x + d.
    """

    eps: float
    per: Literal["all", "class"] = "all"
    """One universal perturbation for all images, or one for each class."""
    uap_ratio: float = 1.25
    """Size of the universal perturbation and of its steps, in units of eps."""
    smoothing: float = 0.4
    """Label smoothing, of the attack too."""
    consistency: float = field(default=10.0, metadata={"published": 10.0})
    """Weight of the mean squared change of the logits."""
    decay: float = 0.3
    """What of the momentum is left in the next batch."""
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = memory_state, load_memory

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_choices(self)
        check_share("smoothing", self.smoothing)
        for name in ("uap_ratio", "consistency", "decay"):
            check_weight(name, getattr(self, name))

    @property
    def traits(self) -> Traits:
        """Images keep their size, that of the universal perturbation."""
        lost = "FGSM-UAP keeps universal perturbations; images that change size lose them"
        return Traits(needs={"size": lost}, memory={"delta": "all", "momentum": "all"})

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield l(f(x + d), y) plus the weighted change of the logits."""
        x, y, box, targets = batch.x, batch.y, Box(batch.x, self.eps), smoothed(self.smoothing)
        if not self.memory:
            uaps = x.new_zeros(classes_of(model, x) if self.per == "class" else 1, *x.shape[1:])
            with of_no_image():
                self.memory.update(delta=self.uap_ratio * self.eps * uniform_like(uaps).sign(), momentum=uaps)
        group = y if self.per == "class" else torch.zeros_like(y)
        start = box.project(self.memory["delta"][group]).requires_grad_()
        first, g = logits_and_gradient(model, x, y, start, objective=toward(targets))
        delta = box.project(start.detach() + self.eps * g.sign())
        batch.log["active"] = 1 - box.interior(delta).mean()
        logits = model(x + delta)
        yield target_loss(logits, batch, targets) + self.consistency * F.mse_loss(logits, first)
        h = (g + len(x) * grad_of(start)) / batch.images  # the losses are means
        self.move(batch, group, h / batch.total(h.abs().sum()).clamp_min(1e-30))

    def move(self, batch: Batch, group: Tensor, h: Tensor) -> None:
        """Let each group's u take its step; `group` (B,) is each image's, h (B, C, H, W) its share of the gradient."""
        delta, momentum = self.memory["delta"], self.memory["momentum"]
        member = (group == torch.arange(len(delta), device=group.device)[:, None]).to(h.dtype)  # (groups, B)
        count, size = batch.total(member.sum(1))[:, None, None, None], self.uap_ratio * self.eps
        mean = batch.total(torch.einsum("kb,bchw->kchw", member, h)) / count.clamp_min(1)
        momentum = torch.where(count > 0, mean + self.decay * momentum, momentum)
        moved = torch.where(count > 0, delta + size * momentum.sign(), delta)
        self.memory.update(delta=moved.clamp(-size, size), momentum=momentum)
