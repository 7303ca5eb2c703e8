"""What each attack does, as a series of rounds: an image leaves after the first round that breaks it.

    noise              P(U(-eps, eps)), once
    fgsm               one signed step of eps from the image (Goodfellow et al., 2015)
    pgd                R rounds: K signed steps of eps / 4 from a uniform start; the final iterate counts
    pgd-highest-loss   one round: of the same R restarts only the one of highest loss counts (released code)
    aa                 apgd-ce, apgd-t, fab-t, square (AutoAttack standard); each of these is an attack of its own, too
    preview            the margins to five classes, climbed: a cheap guess at aa (fastbat.attacks.preview)
    transfer           PGD-20 made on another network, the surrogate

Starts depend on (seed, attack, restart, image index) alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.attacks import PARTS, Inside, autoattack_part, pgd, preview, standard_parts
from fastbat.attacks.ensemble import QUERIES
from fastbat.attacks.objective import Objective, cross_entropy, margin
from fastbat.geometry import Box
from fastbat.randomness import uniform_starts

Round = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]  # (model, x, y, image index) -> x_adv

TRANSFER_STEPS = 20  # of PGD on a surrogate


@dataclass(frozen=True)
class Plan:
    """An attack's budget and settings."""

    eps: float  # on the [0, 1] scale
    num_classes: int
    seed: int = 0
    steps: int = 50  # of PGD
    restarts: int = 10
    step: float | None = None  # of PGD, on the [0, 1] scale; eps / 4 unless given
    queries: int = QUERIES  # of Square
    surrogates: Mapping[str, nn.Module] = field(default_factory=dict)

    def rounds(self, attack: str) -> tuple[Round, ...]:
        """Return the rounds of `attack`, one of ATTACKS but clean; transfer-NAME for a surrogate."""
        if attack in PARTS:
            return (partial(self.part, attack),)
        if attack.startswith("transfer-"):
            return (partial(self.transfer, self.surrogates[attack.removeprefix("transfer-")]),)
        rounds: dict[str, tuple[Round, ...]] = {
            "noise": (self.noise,),
            "fgsm": (self.fgsm,),
            "pgd": tuple(partial(self.pgd, restart) for restart in range(self.restarts)),
            "pgd-highest-loss": (self.highest_loss,),
            "pgd-margin": tuple(partial(self.pgd, i, objective=margin) for i in range(self.restarts)),  # not by name
            "preview": (self.preview,),
            "aa": tuple(partial(self.part, part) for part in standard_parts(self.num_classes)),
        }
        return rounds[attack]

    def noise(self, model: nn.Module, x: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """Return x + U(-eps, eps), cut to [0, 1]."""
        return (x + self.start(x, index, "noise", 0)).clamp(0, 1)

    def fgsm(self, model: nn.Module, x: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """Return the image after one signed step of eps."""
        return x + pgd(model, x, y, torch.zeros_like(x), eps=self.eps, steps=1, step=self.eps)

    def pgd(
        self,
        restart: int,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        index: Tensor,
        objective: Objective = cross_entropy,
    ) -> Tensor:
        """Return the final iterate of one restart."""
        start, step = Box(x, self.eps).project(self.start(x, index, "pgd", restart)), self.step or self.eps / 4
        return x + pgd(model, x, y, start, eps=self.eps, steps=self.steps, step=step, objective=objective)

    def highest_loss(self, model: nn.Module, x: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """Return for each image the final iterate of highest loss over the restarts."""
        found = torch.stack([self.pgd(restart, model, x, y, index) for restart in range(self.restarts)])
        with torch.no_grad():
            losses = torch.stack([F.cross_entropy(model(each), y, reduction="none") for each in found])
        return found[losses.argmax(0), torch.arange(len(x), device=x.device)]

    def part(self, part: str, model: nn.Module, x: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """Return what a part of AutoAttack finds."""
        how = {"eps": self.eps, "num_classes": self.num_classes, "seed": self.seed, "queries": self.queries}
        return autoattack_part(part, model, x, y, **how)  # type: ignore[arg-type]

    def preview(self, model: nn.Module, x: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """Return what the preview of AutoAttack finds."""

        def draw(rows: Tensor, which: str) -> Tensor:
            return self.start(x[rows], index[rows.cpu()], "preview", which)

        return preview(model, x, y, eps=self.eps, draw=draw)

    def transfer(self, surrogate: nn.Module, model: nn.Module, x: Tensor, y: Tensor, index: Tensor) -> Tensor:
        """Return what PGD-20 finds on the surrogate."""
        start = Box(x, self.eps).project(self.start(x, index, "transfer", 0))
        return x + pgd(Inside(surrogate), x, y, start, eps=self.eps, steps=TRANSFER_STEPS, step=self.eps / 4)

    def start(self, x: Tensor, index: Tensor, attack: str, restart: int | str) -> Tensor:
        """Draw U(-eps, eps) of x's shape."""
        return self.eps * (2 * uniform_starts(x, index, self.seed, attack, restart) - 1)


def expanded(attacks: Sequence[str], surrogates: Iterable[str]) -> list[str]:
    """Return the attacks that are more than looking: clean left out, transfer once for each surrogate."""
    each = [[f"transfer-{name}" for name in surrogates] if attack == "transfer" else [attack] for attack in attacks]
    return [attack for names in each for attack in names if attack != "clean"]


def label(attack: str, steps: int, restarts: int) -> str:
    """Return the field's name of the accuracy under `attack`."""
    pgd = f"PGD-{steps}-{restarts}"
    names = {"clean": "SA", "fgsm": "RA-FGSM", "pgd": f"RA-{pgd}", "pgd-highest-loss": f"RA-{pgd}-highest-loss"}
    return (names | {"aa": "RA-AA"}).get(attack, f"RA-{attack}")
