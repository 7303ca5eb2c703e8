"""A table of trials as data.

    title = "Does the term pay?"        # of the comparison, for its report; may be left out
    store = "../runs"                   # of trainings that several tables share; else the suite's folder

    [train]                             # settings of `fastbat train`; a list is a dimension of the table
    dataset = "cifar10"
    method = ["fast-at", "fast-bat"]
    eps = [8, 16]
    seed = [0, 1, 2]

    [[arm]]                             # where there are arms, each is a row of its own over the whole table
    name = "no-ig"
    method = "fast-bat"
    ig_mode = "none"

    [evaluate]                          # settings of `fastbat evaluate`; a list is a dimension here too
    attacks = "clean,pgd"
    checkpoint = ["best", "last"]

Several kinds of evaluation are several tables, [[evaluate]]. A trial is one training run and its evaluations; its name
is its arm or method with the values of the dimensions. They run with the first seed of every arm before the second, so
that an unfinished suite is a comparison.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from fastbat.errors import InputError, choose
from fastbat.files import read_toml
from fastbat.training.run import MAY_DIFFER_ON_RESUME, completed
from fastbat.training.settings import METHOD

TABLE = "suite.toml"  # in a suite's folder: as it was run last
PARTS = ("title", "store", "train", "arm", "evaluate")
OURS = {
    "train": ("out", "resume", "config", "data_dir"),
    "evaluate": ("out", "json", "report", "data_dir"),
}  # the runner's own
NAME = re.compile(r"(?!\.+$)[\w.,=+-]+")


@dataclass(frozen=True)
class Trial:
    """One training run and its evaluations, each as the settings of its command."""

    name: str
    train: dict[str, Any]
    evaluations: list[dict[str, Any]]
    run: str  # its run directory, relative to the suite's folder

    def place(self, out: Path) -> Path:
        """Return its run directory, of a suite in the folder `out`."""
        return Path(os.path.normpath(out / self.run))


def read_trials(path: Path) -> list[Trial]:
    """Return the trials of the TOML file `path`, in the order in which they are run; InputError where it is no TOML."""
    return trials_of(read_toml(path), path)


def trials_of(table: Mapping[str, Any], path: Path | str) -> list[Trial]:
    """Return the trials of a table, read from `path`.

    Raises InputError where it has other parts than PARTS, or names a trial twice.
    """
    for part in table:
        choose(f"part of {str(path)!r}", part, PARTS)
    for part in ("title", "store"):
        if not isinstance(table.get(part, ""), str):
            raise InputError(f"{part} in {str(path)!r} is {table[part]!r}; it must be text")
    shared, arms, asked = table.get("train", {}), table.get("arm", [{}]), table.get("evaluate", [])
    asked = [asked] if isinstance(asked, dict) else asked
    lists = isinstance(arms, list) and isinstance(asked, list)
    if not (lists and all(isinstance(part, dict) for part in (shared, *arms, *asked))):
        raise InputError(f"{str(path)!r} should hold tables: [train], [[arm]], [evaluate] or [[evaluate]]")
    for settings, kind in [*((part, "evaluate") for part in asked), *((part, "train") for part in (shared, *arms))]:
        for name, value in settings.items():
            if name in OURS[kind]:
                raise InputError(f"{name} in {str(path)!r} is no setting of a table: the suite gives it to each trial")
            if value == []:
                raise InputError(f"{name} in {str(path)!r} is an empty list, which leaves no trial")
    evaluations = [chosen for part in asked for chosen in combinations(part)]
    trials: dict[str, Trial] = {}
    for arm in arms:
        settings = shared | {name: value for name, value in arm.items() if name != "name"}
        for chosen in combinations(settings):
            name = trial_name(arm.get("name"), settings, chosen)
            if not NAME.fullmatch(name) or (Path(name).suffix in (".toml", ".jsonl", ".json", ".log")):
                raise InputError(f"{str(path)!r} has a trial {name!r}; name it with letters, digits, and _ . , = + -")
            if name in trials:
                raise InputError(f"{str(path)!r} has two trials {name!r}; give each arm a name of its own")
            run = f"{table['store']}/{key(chosen)}" if table.get("store") else name
            if twin := next((each.name for each in trials.values() if each.run == run), None):
                raise InputError(f"{str(path)!r} has the same training as {twin!r} and as {name!r}; leave one out")
            trials[name] = Trial(name, chosen, evaluations, run)
    seeds = list(dict.fromkeys(repr(trial.train.get("seed")) for trial in trials.values()))
    return sorted(trials.values(), key=lambda trial: seeds.index(repr(trial.train.get("seed"))))


def key(train: Mapping[str, Any]) -> str:
    """Return the name of a training in a store: its method, and a hash over all its settings and the version."""
    about = {"method": METHOD, **train}
    resolved = {name: value for name, value in completed(about).items() if name not in MAY_DIFFER_ON_RESUME}
    numbers = {name: float(value) for name, value in resolved.items() if type(value) is int}  # 16 is 16.0
    text = json.dumps([version("fastbat"), resolved | numbers], sort_keys=True)
    return f"{about['method']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def combinations(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings with each list replaced by one of its values, the last list fastest."""
    lists = [value if isinstance(value, list) else [value] for value in settings.values()]
    for values in product(*lists):
        yield dict(zip(settings, values, strict=True))


def trial_name(arm: str | None, settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    """Return the arm's name, or the method's, followed by what the trial has chosen from the lists of `settings`."""
    varied = [name for name, value in settings.items() if isinstance(value, list) and name != "method"]
    method = chosen.get("method", "fast-bat") if arm is None or isinstance(settings.get("method"), list) else None
    words = (arm, method, *(f"{name}{chosen[name]}" for name in varied))
    return "-".join(str(word) for word in words if word is not None).replace("/", "_").replace(" ", "_")


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Return `settings` as the flags of a command."""
    values = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()}
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
