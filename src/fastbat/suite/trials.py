"""A table of trials as data.

    title = "Does the term pay?"        # of the comparison, for its report; may be left out
    store = "../runs"                   # of trainings that several tables share; else the suite's folder
    stands_for.digits = ["cifar10"]     # data sets that another stands in for, by its name; may be left out

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

    [diagnose]                          # settings of `fastbat diagnose`, for landscapes and examples in the report

Several kinds of evaluation are several tables, [[evaluate]]. An arm may have its own `evaluate` and `diagnose` in place
of the table's. The `surrogates` of an evaluation may be names of trials, which are then trained first.

A trial is one training run and its evaluations; its name is its arm or method with the values of the dimensions. They
run with the first seed of every arm before the second, so that an unfinished suite is a comparison.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from itertools import product
from pathlib import Path
from typing import Any

from fastbat.errors import InputError, choose
from fastbat.files import read_json, read_toml
from fastbat.provenance import version_of
from fastbat.training import Settings
from fastbat.training.run import MAY_DIFFER_ON_RESUME, completed
from fastbat.training.settings import METHOD

TABLE, INPUTS = "suite.toml", "inputs.json"  # in a suite's folder: as it was run last
MEASURED = ("evaluate", "diagnose")  # commands that a trial's training is followed by
PARTS = ("title", "store", "stands_for", "train", "arm", *MEASURED)
OURS = {
    "train": ("out", "resume", "config", "data_dir"),
    "evaluate": ("out", "json", "report", "data_dir"),
    "diagnose": ("out", "data_dir"),
}  # the runner's own
EMBEDDED = "digits"  # a data set inside an installed package
NAME = re.compile(r"(?!\.+$)[\w.,=+-]+")


@dataclass(frozen=True)
class Trial:
    """One training run and its evaluations, each as the settings of its command."""

    name: str
    train: dict[str, Any]
    evaluations: list[dict[str, Any]]
    run: str  # its run directory, relative to the suite's folder
    looks: list[dict[str, Any]] = field(default_factory=list)  # each the settings of `fastbat diagnose`
    surrogates: dict[str, str] = field(default_factory=dict)  # trials that its evaluations name: the run of each
    stands_for: list[str] = field(default_factory=list)  # data sets, that its own is in place of
    inputs: dict[str, str] = field(default_factory=dict)  # SHA-256 of what it is trained from, if known (inputs.py)

    def place(self, out: Path) -> Path:
        """Return its run directory, of a suite in the folder `out`."""
        return Path(os.path.normpath(out / self.run))


def read_trials(path: Path) -> list[Trial]:
    """Return the trials of the TOML file `path`, in the order in which they are run; InputError where it is no TOML."""
    return trials_of(read_toml(path), path)


def trials_in(out: Path) -> list[Trial]:
    """Return the trials of the suite in the folder `out`, as it was run last."""
    return trials_of(read_toml(out / TABLE), out / TABLE, read_json(out / INPUTS))


def trials_of(table: Mapping[str, Any], path: Path | str, inputs: Mapping[str, str] | None = None) -> list[Trial]:
    """Return the trials of a table, read from `path`, in the order in which they are run.

    `inputs` has the SHA-256 of each data set and of each file of weights that they start from, where it is known.
    Raises InputError where it has other parts than PARTS, or names a trial twice.
    """
    shared, arms = checked_parts(table, path)
    known, trials = inputs or {}, dict[str, Trial]()
    for arm in arms:
        own = {name: value for name, value in arm.items() if name in MEASURED}
        evaluations, looks = (
            [chosen for part in listed({**table, **own}.get(kind, [])) for chosen in combinations(part)]
            for kind in MEASURED
        )
        settings = shared | {key: value for key, value in arm.items() if key not in ("name", *MEASURED)}
        for chosen in combinations(settings):
            name = trial_name(arm.get("name"), settings, chosen)
            if not NAME.fullmatch(name) or (Path(name).suffix in (".toml", ".jsonl", ".json", ".log")):
                raise InputError(f"{str(path)!r} has a trial {name!r}; name it with letters, digits, and _ . , = + -")
            if name in trials:
                raise InputError(f"{str(path)!r} has two trials {name!r}; give each arm a name of its own")
            content = {each: known[each] for each in named_inputs(chosen) if each in known}
            run = f"{table['store']}/{key(chosen, content)}" if table.get("store") else name
            if twin := next((each.name for each in trials.values() if each.run == run), None):
                raise InputError(f"{str(path)!r} has the same training as {twin!r} and as {name!r}; leave one out")
            instead = table.get("stands_for", {}).get(chosen.get("dataset", Settings.dataset), [])
            trials[name] = Trial(name, chosen, evaluations, run, looks, stands_for=instead, inputs=content)
    return in_order([replace(trial, surrogates=named_by(trial, trials, path)) for trial in trials.values()], path)


def checked_parts(table: Mapping[str, Any], path: Path | str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the settings that all trials share, and the arms; InputError where a part has another form."""
    for part in table:
        choose(f"part of {str(path)!r}", part, PARTS)
    for part in ("title", "store"):
        if not isinstance(table.get(part, ""), str):
            raise InputError(f"{part} in {str(path)!r} is {table[part]!r}; it must be text")
    instead = table.get("stands_for", {})
    if not isinstance(instead, dict) or not all(texts(names) for names in instead.values()):
        raise InputError(f'stands_for in {str(path)!r} is no table of data sets, such as: digits = ["cifar10"]')
    shared, arms = table.get("train", {}), table.get("arm", [{}])
    whole = isinstance(arms, list) and all(isinstance(part, dict) for part in (shared, *arms))
    asked = [
        (part, kind) for kind in MEASURED for each in (table, *arms) * whole for part in listed(each.get(kind, []))
    ]
    if not whole or not all(isinstance(part, dict) for part, _ in asked):
        raise InputError(f"{str(path)!r} should hold tables: [train], [[arm]], [evaluate] or [[evaluate]], [diagnose]")
    trained = ({name: value for name, value in arm.items() if name not in MEASURED} for arm in arms)
    for settings, kind in [*asked, *((part, "train") for part in (shared, *trained))]:
        for name, value in settings.items():
            if name in OURS[kind]:
                raise InputError(f"{name} in {str(path)!r} is no setting of a table: the suite gives it to each trial")
            if value == []:
                raise InputError(f"{name} in {str(path)!r} is an empty list, which leaves no trial")
    return shared, arms


def texts(value: Any) -> bool:
    """Say whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def listed(value: Any) -> list[Any]:
    """Return one table as a list of one."""
    return value if isinstance(value, list) else [value]


def named_by(trial: Trial, trials: Mapping[str, Trial], path: Path | str) -> dict[str, str]:
    """Return the trials that the evaluations of `trial` name as surrogates, with the run of each.

    Raises InputError where a name is neither a trial's nor that of a model.
    """
    asked = [target for evaluation in trial.evaluations for _, target in surrogates_of(evaluation)]
    for target in asked:
        if NAME.fullmatch(target) and target not in trials and not Path(target).exists():
            choose(f"surrogate in {str(path)!r}", target, trials)
    return {target: trials[target].run for target in asked if target in trials}


def surrogates_of(evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the surrogates of an evaluation: the name of each, empty where none is given, and its target."""
    words = [word.strip() for word in str(evaluation.get("surrogates", "")).split(",") if word.strip()]
    return [(name, target) for name, _, target in (word.rpartition("=") for word in words)]


def in_order(trials: list[Trial], path: Path | str) -> list[Trial]:
    """Return the trials with the first seed of every arm before the second, and those that others name before these."""
    seeds = list(dict.fromkeys(repr(trial.train.get("seed")) for trial in trials))
    trials = sorted(trials, key=lambda trial: seeds.index(repr(trial.train.get("seed"))))
    place = {trial.name: i for i, trial in enumerate(trials)}
    try:
        TopologicalSorter(needs(trials)).prepare()
    except CycleError as error:
        raise InputError(
            f"in {str(path)!r} trials name each other as surrogates: {' -> '.join(error.args[1])}"
        ) from error
    first = {name for each in needs(trials).values() for name in each}
    return sorted(trials, key=lambda trial: (trial.name not in first, place[trial.name]))


def needs(trials: Iterable[Trial]) -> dict[str, set[str]]:
    """Return by the name of each trial those that must be finished before it."""
    return {trial.name: set(trial.surrogates) - {trial.name} for trial in trials}


def key(train: Mapping[str, Any], inputs: Mapping[str, str] | None = None) -> str:
    """Return the name of a training in a store: its method, and a hash over its settings, its `inputs` and the version.

    The settings are all of them as resolved; `inputs` are the contents of its images and of the weights it starts from.
    """
    about = {"method": METHOD, **train}
    resolved = {name: value for name, value in completed(about).items() if name not in MAY_DIFFER_ON_RESUME}
    numbers = {name: float(value) for name, value in resolved.items() if type(value) is int}  # 16 is 16.0
    text = json.dumps([version_of("fastbat"), resolved | numbers, sorted((inputs or {}).values())], sort_keys=True)
    return f"{about['method']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def named_inputs(train: Mapping[str, Any]) -> dict[str, str]:
    """Return what a training is made from that its settings only name, with the setting that does."""
    weights = {str(train["init_from"]): "init_from"} if "init_from" in train else {}
    return {str(train.get("dataset", Settings.dataset)): "dataset", **weights}


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


def taken(extra: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
    """Return the settings of a machine that a trial takes: embedded images lie in no folder of it."""
    embedded = trial.train.get("dataset") == EMBEDDED
    return {name: value for name, value in extra.items() if not (embedded and name == "data_dir")}


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Return `settings` as the flags of a command."""
    values = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()}
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
