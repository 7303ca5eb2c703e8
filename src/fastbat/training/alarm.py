"""An alarm for collapse at no extra pass: how well the two input gradients align that an update has anyway.

    p = mean cos(g, g')     g the first gradient by the images in an update, where its attack starts;
                            g' that of its last pass, where the weights are trained
    on where the mean of p over about 10 updates is below half of its mean over about 200

A network that has learnt to read a one-step attack is far from linear between the two. SORA (Teymourian et al., 2026)
calls p PertAlign. An image for which either gradient is zero counts as 0. A method of one pass (FREE-AT, standard
training) has no p, nor has an update that is replayed from a graph (--capture).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from fastbat.attacks.alignment import cosines
from fastbat.randomness import is_of_no_image

FAST, SLOW = 0.9, 0.995  # what of each mean is left after an update
BELOW = 0.5
WARM_UP = 200  # updates before which it is not on


class InputGradients:
    """The gradients by a batch's images (B, C, H, W) that the passes of a network find, as far as p needs them."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape, self.passes = shape, 0  # passes of other images do not count
        self.first: tuple[int, Tensor] | None = None  # number of the pass, gradient
        self.last: tuple[int, Tensor] | None = None

    @contextmanager
    def of(self, net: nn.Module) -> Iterator[None]:
        """Look at the passes of `net` within the block."""
        handle = net.register_forward_pre_hook(self.look)
        try:
            yield
        finally:
            handle.remove()

    def look(self, net: nn.Module, inputs: tuple[object, ...]) -> tuple[object, ...] | None:
        """Have a pass find the gradient by its images, too."""
        x, *others = inputs
        if not isinstance(x, Tensor) or x.shape != self.shape or is_of_no_image() or not torch.is_grad_enabled():
            return None
        x = x if x.requires_grad else x.detach().requires_grad_()
        x.register_hook(partial(self.keep, self.passes))
        self.passes += 1
        return (x, *others)

    def keep(self, number: int, gradient: Tensor) -> None:
        """Keep the first gradient of all, and the first of the last pass."""
        found = number, gradient.detach()
        self.first = self.first or found
        if self.last is None or number > self.last[0]:
            self.last = found

    @property
    def alignment(self) -> Tensor | None:
        """Return p, 0-d; None if there was one pass."""
        if self.first is None or self.last is None or self.first[0] == self.last[0]:
            return None
        found, both = cosines(self.first[1], self.last[1])
        return (found * both).mean()


@dataclass
class Alarm:
    """What is known of p so far, on its device."""

    updates: int = 0
    until: int = 0  # the update at which two steps a batch end
    fast: Tensor = field(default_factory=lambda: torch.zeros(()))
    slow: Tensor = field(default_factory=lambda: torch.zeros(()))

    def heard(self, p: Tensor) -> Tensor:
        """Take in p (0-d) of an update; return 1 if the alarm is on, else 0."""
        self.updates += 1
        n = self.updates
        self.fast, self.slow = (
            mean.to(p).lerp(p, (1 - left) / (1 - left**n)) for mean, left in ((self.fast, FAST), (self.slow, SLOW))
        )
        return (self.fast < BELOW * self.slow).to(p) * (n > WARM_UP)

    def escalate(self, until: int) -> None:
        """Have two steps a batch until update `until`; after it p counts as if it were back at its mean."""
        self.until, self.fast = until, self.slow
