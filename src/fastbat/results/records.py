"""Records of any schema as they are read here: an accuracy, an evaluation, a training with its evaluations.

What a record does not hold stays empty, and the page says so; nothing is made up for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastbat.evaluation.interval import wilson

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Accuracy:
    """The images that one model classifies correctly, whatever an attack did."""

    attack: str  # clean, pgd, aa, ...
    label: str  # SA, RA-PGD-50-10, RA-AA
    eps_255: float  # 0 for clean
    hits: int
    n: int
    rejected: int = 0
    seconds: float | None = None
    upper_bound: bool = False
    per_class: tuple[float | None, ...] = ()
    mask: str = ""  # hexadecimal; empty in old records

    @property
    def percent(self) -> float:
        """The accuracy in percent."""
        return 100 * self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval in percent."""
        low, high = wilson(self.hits, self.n)
        return 100 * low, 100 * high


@dataclass(frozen=True)
class Measured:
    """One evaluation of one model."""

    accuracies: tuple[Accuracy, ...]
    settings: Record  # how it was measured, and of what
    checkpoint: str = ""  # best, last, best-ema, last-ema; empty for a model that is no run's
    flags: tuple[tuple[str, str], ...] = ()  # name and text
    looked_for_flags: bool = True
    not_judged: tuple[str, ...] = ()
    time: str = ""

    @property
    def budgets(self) -> list[float]:
        """The budgets of its attacks on the 0-255 scale, in the order asked for."""
        return list(dict.fromkeys(each.eps_255 for each in self.accuracies if each.eps_255))

    def at(self, attack: str, eps_255: float) -> Accuracy | None:
        """Return the accuracy under `attack` at a budget, if it was made."""
        wanted = 0 if attack == "clean" else eps_255
        return next((a for a in self.accuracies if (a.attack, a.eps_255) == (attack, wanted)), None)


@dataclass(frozen=True)
class Trial:
    """One training with its evaluations, or a model of others with its own."""

    name: str
    train: Record  # settings of the training; empty for a model of others
    evaluations: tuple[Measured, ...]
    epochs: tuple[Record, ...] = ()
    source: int = 0  # place of its folder among the sources
    folder: Path | None = None  # where its files lie, if they do
    provenance: tuple[Record, ...] = ()  # of each start of the training
    settings: Record = field(default_factory=dict)  # all of them as resolved, where they are on disk
    stands_for: tuple[str, ...] = ()  # data sets that its own is in place of, in a suite
    estimated: float | None = None  # seconds of training: steps times the median of a few that were timed

    @property
    def known(self) -> dict[str, Any]:
        """Its settings as resolved, those that were given among them."""
        return {**self.settings, **self.train}

    @property
    def seed(self) -> int | None:
        """The seed of its training; None where it is not known."""
        seed: int | None = self.setting("seed")
        return seed

    @property
    def classes(self) -> int | None:
        """Number of classes, where an evaluation says it."""
        return next((len(a.per_class) for each in self.evaluations for a in each.accuracies if a.per_class), None)

    @property
    def eps_255(self) -> float | None:
        """The budget trained against; None where there is none, or it is not known."""
        return self.setting("eps") or None

    def setting(self, name: str) -> Any:
        """Return a setting of the training as given, or as resolved; None where neither is recorded."""
        return self.known.get(name)


def measured(record: Record) -> Measured:
    """Return an evaluation's record, of schema 1 or later or of the flat form before them."""
    if "accuracies" not in record:
        return flat(record)
    settings = record["settings"]
    return Measured(
        tuple(accuracy(each) for each in record["accuracies"]),
        settings,
        checkpoint_of(settings.get("target", ""), settings),
        tuple((flag["name"], flag["text"]) for flag in record["red_flags"]),
        True,
        tuple(record["not_judged"]),
        settings.get("started") or record.get("time", ""),
    )


def accuracy(record: Record) -> Accuracy:
    """Return an accuracy's record."""
    return Accuracy(
        record["attack"], record["label"], record["eps_255"], record["hits"], record["n"], record["rejected"],
        record["seconds"], record["upper_bound"], tuple(record["per_class"]), record.get("mask", ""),
    )  # fmt: skip


def flat(record: Record) -> Measured:
    """Return a record of the form before schema 1: sa, ra_pgd and ra_aa at the top, no flags, no masks."""
    label = {"clean": "SA", "pgd": f"RA-PGD-{record.get('pgd_steps')}-{record.get('pgd_restarts')}", "aa": "RA-AA"}
    found = [
        Accuracy(
            attack, label[attack], 0 if attack == "clean" else record["eps_255"],
            round(record[key] * record["n"] / 100), record["n"], record[f"{key}_rejected"], record["seconds"][attack],
        )
        for attack, key in (("clean", "sa"), ("pgd", "ra_pgd"), ("aa", "ra_aa"))
        if key in record
    ]  # fmt: skip
    name = checkpoint_of(record["checkpoint"], record)
    warned = tuple(("warning", text) for text in record.get("warnings", ()))
    return Measured(tuple(found), record, name, warned, False, (), record.get("time", ""))


def checkpoint_of(target: str, settings: Record) -> str:
    """Return which weights of a run were measured: best, last, best-ema, last-ema; empty if they are no run's."""
    stem = target.removesuffix(".safetensors")
    return stem if settings.get("epoch") is not None and stem in ("best", "last", "best-ema", "last-ema") else ""


def latest(records: Sequence[Measured]) -> list[Measured]:
    """Return the evaluations without those that a later one of the same weights repeats."""
    kept: dict[tuple[Any, ...], Measured] = {}
    for each in records:
        made = tuple((a.label, a.eps_255, a.n) for a in each.accuracies)
        kept[(each.checkpoint, each.settings.get("weights"), made)] = each
    return list(kept.values())
