"""LIET (Pan et al., 2025): a start from which the label cannot be read, and predictions that the step does not move.

    LI_k = eps sign grad l(f(0.5), k), of a grey image, in eval mode; found again every u updates
    d0 = P01(+-M), M = LI_y, where a share rho ~ U(low, high) of the coordinates is U(-c eps, c eps) instead
    d  = P(d0 + eps sign grad l(f(x + d0), y))                          eps above 8/255: P01, not the eps ball
    theta <- theta - alpha grad [ l(f(x + d), y) + Lambda t JSD(f(x + d0), f(x + d)) ],  t the share of training done

l is CE to a target with 1 - s on the true class and s on the others by random weights, drawn in every call. P01 clips
to the images' box. Sign and rho are drawn once a batch. The gradient of the JSD passes through both predictions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fastbat.attacks.gradient import input_gradient, logits_and_gradient
from fastbat.errors import InputError, check_count, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import F, Tensor, nn, torch
from fastbat.methods.method import Batch, Method, Traits, load_memory, memory_state, required
from fastbat.methods.per_class import classes_of, grey
from fastbat.methods.targets import Targets, check_share, randomly_smoothed, target_loss, toward
from fastbat.randomness import of_no_image, uniform_like
from fastbat.runtime.modes import eval_mode

PUBLISHED = {  # on CIFAR-10, at 8/255 and at 16/255
    "smoothing": (0.6, 0.4), "consistency": (100.0, 20.0), "erase_low": (0.1, 0.0), "erase_high": (0.5, 1.0),
    "noise_ratio": (1.0, 2.0), "refresh": (20, 10), "clip": (True, False),
}  # fmt: skip


@dataclass(frozen=True)
class Liet(Method):
    """LIET: a step from a start without label information, and a penalty on predictions that move.

    Needs each batch's step and progress. BatchNorm sees two passes, at d0 and at d; LI is found in eval mode.
    """

    eps: float
    smoothing: float | None = None
    """Share s of each target that is spread over the other classes at random; 0.6 up to 8/255, 0.4 above."""
    consistency: float | None = field(default=None, metadata={"published": 200.0})
    """Weight Lambda of the JSD at the end of the training; 100 up to 8/255, 20 above."""
    erase_low: float | None = None
    """The least share of LI's coordinates that noise replaces; 0.1 up to 8/255, 0 above."""
    erase_high: float | None = None
    """The largest share of them; 0.5 up to 8/255, 1 above."""
    noise_ratio: float | None = None
    """Size c of that noise, in units of eps; 1 up to 8/255, 2 above."""
    refresh: int | None = None
    """Find LI again every N updates, u; 20 up to 8/255, 10 above."""
    clip: bool | None = None
    """Cut d to the eps ball; true up to 8/255, false above."""
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = memory_state, load_memory

    def __post_init__(self) -> None:
        check_eps(self.eps)
        how = self.resolved
        for name in ("smoothing", "erase_low", "erase_high"):
            check_share(name, how[name])
        if how["erase_low"] > how["erase_high"]:
            raise InputError(f"erase_low is {how['erase_low']:g}, above erase_high, {how['erase_high']:g}")
        for name in ("consistency", "noise_ratio"):
            check_weight(name, how[name])
        check_count("refresh", how["refresh"])

    @property
    def traits(self) -> Traits:
        """Images keep their size, that of LI."""
        lost = "LIET keeps one perturbation a class; images that change size lose it"
        return Traits(needs={"size": lost}, memory={"delta": "all"})

    @property
    def resolved(self) -> dict[str, Any]:
        """The settings for this eps."""
        given = {name: getattr(self, name) for name in PUBLISHED}
        return {name: PUBLISHED[name][self.eps > 8 / 255] if value is None else value for name, value in given.items()}

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield l(f(x + d), y) + Lambda t JSD."""
        x, y, how, targets = batch.x, batch.y, self.resolved, randomly_smoothed(self.resolved["smoothing"])
        weight = how["consistency"] * required(batch, "progress")
        start = self.start(x, self.indicators(model, batch, targets)[y])
        first, g = logits_and_gradient(model, x, y, start, objective=toward(targets))
        delta = Box(x, self.eps if how["clip"] else 1.0).project(start + self.eps * g.sign())
        logits = model(x + delta)
        moved = jensen_shannon(first, logits)
        batch.log["jsd"] = moved.detach()
        yield target_loss(logits, batch, targets) + weight * moved

    def indicators(self, model: nn.Module, batch: Batch, targets: Targets) -> Tensor:
        """Return LI (K, C, H, W), found again where it is time; what a larger budget left behind is cut to eps."""
        known = self.memory.get("delta")
        if known is None or required(batch, "step") % self.resolved["refresh"] == 0:
            images = grey(batch.x, classes_of(model, batch.x) if known is None else len(known))
            labels = torch.arange(len(images), device=images.device)
            with eval_mode(model), of_no_image():
                g = input_gradient(model, images, labels, torch.zeros_like(images), objective=toward(targets))
            self.memory["delta"] = self.eps * g.sign()
        return self.memory["delta"].clamp(-self.eps, self.eps)

    def start(self, x: Tensor, indicator: Tensor) -> Tensor:
        """Draw d0 around each image's LI (B, C, H, W)."""
        how = self.resolved
        with of_no_image():
            once, sign = 0.5 + 0.5 * uniform_like(x[:1, :1, :1, :1]), uniform_like(x[:1, :1, :1, :1]).sign()
        rho = how["erase_low"] + (how["erase_high"] - how["erase_low"]) * once
        erased = 0.5 + 0.5 * uniform_like(x) < rho
        delta = torch.where(erased, how["noise_ratio"] * self.eps * uniform_like(x), indicator)
        return Box(x, 1.0).project(sign * delta)


def jensen_shannon(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean Jensen-Shannon divergence of softmax(a) and softmax(b), both (B, K), in nats."""
    p, q = F.log_softmax(a, 1), F.log_softmax(b, 1)
    m = torch.logaddexp(p, q) - math.log(2)
    return (p.exp() * (p - m) + q.exp() * (q - m)).sum(1).mean() / 2
