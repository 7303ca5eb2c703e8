"""Where a number comes from: commands, commit, machine, versions; what was not recorded is said."""

from collections.abc import Iterable, Sequence

from fastbat.results.names import MACHINE
from fastbat.results.records import Measured, Record, Trial
from fastbat.suite.trials import flags

MISSING = "not recorded"
Lines = tuple[tuple[str, str], ...]


def origin(trials: Sequence[Trial], measured: Sequence[Measured]) -> Lines:
    """Return the lines that say where an accuracy of these trainings comes from."""
    starts = [start for trial in trials for start in trial.provenance]
    every = [*starts, *(each.settings for each in measured)]
    lines = [
        ("training", training(trials)),
        ("evaluation", same(str(each.settings.get("command") or MISSING) for each in measured[:1])),
        ("commit", same(commit(each) for each in every)),
        ("machine", same(machine(each) for each in every)),
        ("torch", same(str(each.get("versions", {}).get("torch") or MISSING) for each in every)),
        ("measured", same(each.time or MISSING for each in measured[:1])),
    ]
    return tuple((name, text) for name, text in lines if text)


def training(trials: Sequence[Trial]) -> str:
    """Return the command that trained the first of these trials; its settings if the command was not recorded."""
    first = trials[0]
    if not first.train or ("seed" not in first.train and not first.epochs):
        return ""
    others = [str(trial.seed) for trial in trials[1:]]
    again = f"; again with seed {', '.join(others)}" if others else ""
    if first.provenance:
        return f"{first.provenance[0].get('command') or MISSING}{again}"  # a later start has resumed it
    return f"{MISSING}; its settings: {' '.join(flags(without_machine(first.train)))}{again}"


def without_machine(train: Record) -> dict[str, object]:
    """Return settings without those of a machine."""
    return {name: value for name, value in train.items() if name == "seed" or name not in MACHINE}


def commit(record: Record) -> str:
    """Return the commit that a record was written by, and whether files had changed since."""
    found = record.get("versions", {}).get("commit")
    if not found:
        return MISSING
    return f"{found.removesuffix('+')}, with changes" if found.endswith("+") else str(found)


def machine(record: Record) -> str:
    """Return in words the machine that a record was written on."""
    found = record.get("machine")
    if not found:
        return MISSING
    cores, threads = found.get("cores"), found.get("threads")
    parts = [
        number and f"{number} {noun}{'s' * (number != 1)}" for number, noun in ((cores, "core"), (threads, "thread"))
    ]
    words = [found.get("gpu"), found.get("cpu"), *parts]
    return ", ".join(str(word) for word in words if word) or MISSING


def same(texts: Iterable[str]) -> str:
    """Return a text that all share, else each that there is."""
    return "; ".join(dict.fromkeys(texts))
