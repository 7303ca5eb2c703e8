"""What an evaluation says: every accuracy with its n, its interval and its seconds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NORMAL_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval for a proportion of `hits` in `n`, both ends in [0, 1] (Wilson, 1927)."""
    share, z2 = hits / n, NORMAL_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Accuracy:
    """A share of images classified correctly."""

    hits: int
    """Images classified correctly whatever the attack did."""
    n: int
    """Images in all."""
    seconds: float
    """Wall-clock seconds it took, those of what it builds on left out."""
    rejected: int = 0
    """Adversarial examples that were found but failed their check, and so were not counted."""

    @property
    def percent(self) -> float:
        """The accuracy in percent."""
        return 100 * self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval in percent: over the draw of the images, not over training seeds."""
        low, high = wilson(self.hits, self.n)
        return 100 * low, 100 * high

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:.1f} [{low:.1f}, {high:.1f}]"


@dataclass(frozen=True)
class Evaluation:
    """The accuracies of one model on one set of images, and how they were measured."""

    eps: float
    """Budget on the [0, 1] scale."""
    n: int
    """Images evaluated."""
    accuracies: Mapping[str, Accuracy]
    """By attack: clean, pgd, aa."""
    settings: Mapping[str, Any]
    """Of the attacks: steps, restarts, step size, seed, batch size, device, precision, versions."""
    warnings: tuple[str, ...] = field(default=())
    """What the attacks themselves warned of."""

    @property
    def sa(self) -> Accuracy:
        """Standard accuracy, on the images as they are."""
        return self.accuracies["clean"]

    @property
    def ra_pgd(self) -> Accuracy:
        """Robust accuracy under PGD; KeyError where pgd was not among the attacks."""
        return self.accuracies["pgd"]

    @property
    def ra_aa(self) -> Accuracy:
        """Robust accuracy under AutoAttack; KeyError where aa was not among the attacks."""
        return self.accuracies["aa"]

    def label(self, attack: str) -> str:
        """Return the field's name of a number: SA, RA-PGD-50-10, RA-AA."""
        steps, restarts = self.settings.get("pgd_steps"), self.settings.get("pgd_restarts")
        return {"clean": "SA", "pgd": f"RA-PGD-{steps}-{restarts}", "aa": "RA-AA"}[attack]

    def record(self) -> dict[str, Any]:
        """Return everything as one JSON-ready object, accuracies in percent."""
        keys = {"clean": "sa", "pgd": "ra_pgd", "aa": "ra_aa"}
        result: dict[str, Any] = {"eps_255": round(self.eps * 255, 6), "n": self.n}
        for attack, accuracy in self.accuracies.items():
            result[keys[attack]] = round(accuracy.percent, 4)
            result[f"{keys[attack]}_interval"] = [round(end, 4) for end in accuracy.interval]
            result[f"{keys[attack]}_rejected"] = accuracy.rejected
        result["seconds"] = {attack: round(a.seconds, 3) for attack, a in self.accuracies.items()}
        return result | {"warnings": list(self.warnings)} | dict(self.settings)
