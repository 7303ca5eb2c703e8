"""ELLE-A (Abad Rocamora et al., 2024): FGSM, and a loss that is linear between two points near each image.

    d = eps sign g(0), not clipped
    e = mean (L(x_c) - (1 - a) L(x_a) - a L(x_b))^2,  x_a and x_b = x + U(-eps, eps),  x_c = (1 - a) x_a + a x_b
    theta <- theta - alpha grad [ mean CE(x + d) + lambda e ]

L is an image's CE, and a = U(0, 1) one number an image. No point is clipped to the images' box. lambda starts at 0.
After each update it jumps to its largest value if e was above the mean plus 2 standard deviations of all e before, and
else is multiplied by 0.99.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastbat.attacks.gradient import input_gradient
from fastbat.errors import InputError, check_weight
from fastbat.geometry import check_eps
from fastbat.lazy import F, Tensor, nn, torch
from fastbat.methods.method import Batch, Method, Traits, load_memory, memory_state, training_loss
from fastbat.randomness import uniform_like


@dataclass(frozen=True)
class ElleA(Method):
    """ELLE-A: FGSM, and a penalty on a loss that is not linear, while it is unusually far from it.

    BatchNorm sees three passes: at noise, at d, and one of three times the batch.
    """

    eps: float
    noise_ratio: float = 0.0
    """Size of the noise that the step starts from, in units of eps; 2 is N-FGSM's."""
    step_ratio: float = 1.0
    """Size of the signed step, in units of eps."""
    linearity: float = field(default=4000.0, metadata={"published": 4000.0})
    """Largest weight lambda of the error e."""
    decay: float = 0.99
    """What of lambda is left after an update, from 0 to 1."""
    sensitivity: float = 2.0
    """How many standard deviations above its mean e is unusual."""
    memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = memory_state, load_memory

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for name in ("noise_ratio", "step_ratio", "linearity", "sensitivity"):
            check_weight(name, getattr(self, name))
        if not 0 <= self.decay <= 1:
            raise InputError(f"decay is {self.decay:g}; it must lie in [0, 1]")

    @property
    def traits(self) -> Traits:
        """It remembers how large e was."""
        return Traits(memory=dict.fromkeys(("lam", "count", "mean", "squares"), "all"))

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield mean CE(x + d) + lambda e."""
        x, y = batch.x, batch.y
        start = self.noise_ratio * self.eps * uniform_like(x)
        delta = start + self.step_ratio * self.eps * input_gradient(model, x, y, start).sign()
        loss, error = training_loss(model(x + delta), batch), self.error(model, x, y)
        lam = self.weight(batch.averaged(error))
        batch.log.update(linearity_error=error.detach(), lam=lam)
        yield loss + lam * error

    def error(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return e, 0-d, by one pass of three points an image."""
        first, second = (x + self.eps * uniform_like(x) for _ in range(2))
        a = 0.5 + 0.5 * uniform_like(x[:, :1, :1, :1])
        points = torch.cat([first, second, (1 - a) * first + a * second])
        at_a, at_b, at_c = F.cross_entropy(model(points), y.repeat(3), reduction="none").chunk(3)
        share = a.flatten()
        return F.mse_loss(at_c, (1 - share) * at_a + share * at_b)

    def weight(self, error: Tensor) -> Tensor:
        """Return lambda of this update, 0-d; remember its e, and lambda of the next."""
        e = error.double()
        memory = self.memory or dict.fromkeys(("lam", "count", "mean", "squares"), torch.zeros_like(e))
        lam, count, mean = memory["lam"], memory["count"], memory["mean"]
        unusual = e > mean + self.sensitivity * (memory["squares"] / count.clamp_min(1)).sqrt()
        after = mean + (e - mean) / (count + 1)
        self.memory.update(
            lam=torch.where(unusual & (count > 2), self.linearity, self.decay * lam),
            count=count + 1,
            mean=after,
            squares=memory["squares"] + (e - mean) * (e - after),  # of the differences from the mean (Welford)
        )
        return lam.to(error.dtype)
