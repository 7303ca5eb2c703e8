"""What an evaluation says: every accuracy with its n, its interval and its seconds; the record's schema.

The schema is described in docs/reference/files.md; SCHEMA changes with it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from io import StringIO
from typing import Any

from rich.console import Console, Group
from rich.jupyter import JupyterMixin
from rich.text import Text

from fastbat.attacks.ensemble import MIN_CLASSES_TARGETED, PARTS
from fastbat.console import ANY_TABLE, Rows
from fastbat.evaluation.flags import RedFlag
from fastbat.evaluation.interval import wilson
from fastbat.evaluation.sentence import sentence_of
from fastbat.geometry import tiny
from fastbat.plain import plain_text

SCHEMA = 3
INTERVALS = "[low, high]: 95 % interval over the draw of the images"
HEADLINES = {"sa": "clean", "ra_pgd": "pgd", "ra_aa": "aa"}  # in a record, and whose percentage each is


@dataclass(frozen=True)
class Accuracy:
    """A share of images classified correctly, whatever an attack did."""

    attack: str
    """Name of the attack: clean, pgd, aa, ..."""
    label: str
    """The field's name of the number: SA, RA-PGD-50-10, RA-AA."""
    eps: float
    """Budget on the [0, 1] scale; 0 for clean."""
    hits: int
    """Images classified correctly."""
    n: int
    """Images in all."""
    seconds: float
    """Seconds it took, those of what it builds on left out; over processes, their sum."""
    rejected: int = 0
    """Adversarial examples that fooled the search and failed their check, and so were not counted."""
    per_class: tuple[float | None, ...] = ()
    """The accuracy of each class, in percent; None for a class without images."""
    upper_bound: bool = False
    """Only a black-box attack was made."""
    mask: str = ""
    """Which images are classified correctly, a bit each in their order, the first the highest; hexadecimal."""

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
        return f"{'at most ' if self.upper_bound else ''}{self.percent:.1f} [{low:.1f}, {high:.1f}]"

    def record(self) -> dict[str, Any]:
        """Return it as a JSON-ready object, accuracies in percent."""
        return {
            "attack": self.attack,
            "label": self.label,
            "eps_255": round(255 * self.eps, 6),
            "percent": round(self.percent, 4),
            "interval": [round(end, 4) for end in self.interval],
            "hits": self.hits,
            "n": self.n,
            "rejected": self.rejected,
            "seconds": round(self.seconds, 3),
            "upper_bound": self.upper_bound,
            "per_class": [share if share is None else round(share, 2) for share in self.per_class],
            "mask": self.mask,
        }


@dataclass(frozen=True)
class Evaluation(JupyterMixin):
    """The accuracies of one model on one set of images, and how they were measured; shows itself in a notebook."""

    n: int
    """Images evaluated."""
    accuracies: tuple[Accuracy, ...]
    """In the order asked for; an attack has one for each budget."""
    red_flags: tuple[RedFlag, ...]
    """Signs that the robust accuracies are overstated; empty for an honest model."""
    not_judged: tuple[str, ...]
    """Why flags could not be judged, where they could not."""
    settings: Mapping[str, Any]
    """Of the attacks: steps, restarts, seed, batch size, device, precision, versions, fingerprint, checksum."""

    def __getitem__(self, attack: str) -> Accuracy:
        """Return the accuracy under `attack` at its first budget; KeyError where it was not made."""
        for accuracy in self.accuracies:
            if accuracy.attack == attack:
                return accuracy
        raise KeyError(attack)

    @property
    def sa(self) -> Accuracy:
        """Standard accuracy, on the images as they are."""
        return self["clean"]

    @property
    def ra_pgd(self) -> Accuracy:
        """Robust accuracy under PGD, at the first budget; KeyError where pgd was not among the attacks."""
        return self["pgd"]

    @property
    def ra_aa(self) -> Accuracy:
        """Robust accuracy under AutoAttack, at the first budget; KeyError where aa was not among the attacks."""
        return self["aa"]

    def said_of(self, **about: Any) -> "Evaluation":
        """Return the same with more settings: what was evaluated."""
        return replace(self, settings={**self.settings, **about})

    def table(self) -> Rows:
        """Return a row for each accuracy: name, budget, accuracy, seconds."""
        about, title = self.settings, f"{self.n} images"
        if "target" in about:
            epoch = "" if about["epoch"] is None else f", epoch {about['epoch']}"
            title = f"{about['target']}{epoch}: {title} of {about['dataset']}"
        rows = [(a.label, f"{255 * a.eps:g}/255" if a.eps else "", str(a), f"{a.seconds:.1f}") for a in self.accuracies]
        return Rows(("", "eps", "accuracy, %", "seconds"), rows, ("",), ("seconds",), title)

    def __rich__(self) -> Group:
        """Return the table and what belongs under it, for a terminal or a notebook."""
        return Group(self.table(), *map(Text, map(plain_text, (INTERVALS, *self.remarks()))))

    def __str__(self) -> str:
        with (console := Console(file=StringIO(), highlight=False, width=ANY_TABLE)).capture() as shown:
            console.print(self, soft_wrap=True)
        return shown.get().rstrip()

    def remarks(self) -> list[str]:
        """Return what belongs under the table: flags raised, what could not be judged, and claims that do not fit."""
        flags = [f"RED FLAG {flag.name}: {flag.text}" for flag in self.red_flags]
        unjudged = [f"Red flags not judged, {reason}" for reason in self.not_judged]
        judged = any(a.eps for a in self.accuracies)
        doubts = [line for a in self.accuracies if a.eps and (line := tiny(a.eps))]
        none = [] if flags or unjudged or not judged else ["No red flags."]
        claims = [f"CONTRADICTION: {each['text']}" for each in self.settings.get("contradictions", ())]
        return [*self.parts(), *self.previewed(), *dict.fromkeys(doubts), *flags, *unjudged, *none, *claims]

    def parts(self) -> list[str]:
        """Return in a line, if there is one, which parts of AutoAttack were run where some do not work."""
        ran = self.settings["aa_parts"]
        left = [part for part in PARTS if part not in ran]
        if not left or all(accuracy.attack != "aa" for accuracy in self.accuracies):
            return []
        return [f"RA-AA: {', '.join(ran)}; {', '.join(left)} need at least {MIN_CLASSES_TARGETED} classes"]

    def previewed(self) -> list[str]:
        """Return in a line, if there is one, what an accuracy under the preview of AutoAttack is not."""
        labels = {a.label for a in self.accuracies if a.attack == "preview"}
        return [f"{label} is a preview of RA-AA, no substitute: quote RA-AA" for label in labels]

    def sentence(self) -> str:
        """Return what to write where these numbers are quoted."""
        return sentence_of(self)

    def record(self) -> dict[str, Any]:
        """Return everything as one JSON-ready object; at its head n, the first budget, and the accuracies there."""
        measured = {accuracy.attack for accuracy in self.accuracies}
        budgets = [round(255 * accuracy.eps, 6) for accuracy in self.accuracies if accuracy.eps]
        return {
            "schema": SCHEMA,
            "n": self.n,
            **({"eps_255": budgets[0]} if budgets else {}),
            **{key: round(self[attack].percent, 4) for key, attack in HEADLINES.items() if attack in measured},
            "accuracies": [accuracy.record() for accuracy in self.accuracies],
            "red_flags": [asdict(flag) for flag in self.red_flags],
            "not_judged": list(self.not_judged),
            "settings": dict(self.settings),
        }
