"""Settings of `fastbat train` from a TOML file: a flat table, or under [train] as suites have them; under flags."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from fastbat.cli.first import First
from fastbat.errors import InputError, nearest
from fastbat.files import read_toml
from fastbat.methods import METHODS
from fastbat.models import SHAPE, find_model
from fastbat.training import Run, Settings
from fastbat.training.run import short
from fastbat.training.settings import effective, method_settings

SUITE = ("arm", "evaluate")  # tables of a suite, next to [train]


def read_config(first: First) -> dict[str, Any]:
    """Return the settings of the file that `first` names; InputError if it holds anything else."""
    file, run = first.file, first.resumed
    if file is None:
        return {}
    if run is not None:
        before = effective(run.read_config())
        for name, given in other_causes(first, before):
            raise run.refusal(name, before[name], given)
    made = Run(file.parent)
    if made.config != file or not (made.state.exists() or run):
        return flat(read_toml(file), file)
    table = made.read_config()
    if "resolved" not in table:
        for name, given in other_causes(first, table):
            of_old = f"was written by an older version, with numbers that belong to {name} {short(table[name])}"
            raise InputError(f"{str(file)!r} {of_old}; for {name} {short(given)} start from settings of your own")
    return flat(table, file)


def other_causes(first: First, before: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the flags, with their values, that change what other settings of a run follow from; eps 0 is none."""
    return [(name, now) for name, now in first.causes.items() if before.get(name) and now != before[name]]


def flat(table: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the settings at the top of `table` and under its [train]; InputError where it holds other tables.

    [resolved], which a run adds, is checked when all settings are known (`check_resolved`).
    """
    train, resolved = table.get("train", {}), table.get("resolved", {})
    if not isinstance(resolved, dict):
        raise InputError(f"resolved in {str(file)!r} is no setting; it is a table that a run adds")
    method = str(table.get("method"))
    refuse_unknown(resolved, known_settings(method) if method in METHODS else resolved, file)
    if not isinstance(train, dict):
        raise InputError(f"train in {str(file)!r} is no setting; name a table [train], or the settings alone")
    config: dict[str, Any] = {}
    for part in ({name: value for name, value in table.items() if name not in ("train", "resolved")}, train):
        for key, value in part.items():
            name = key.replace("-", "_")
            if name in SUITE or isinstance(value, list):
                raise InputError(
                    f"{str(file)!r} holds a table of trials ({key}); run it with: fastbat suite run {file} --out DIR"
                )
            if isinstance(value, dict):
                raise InputError(f"{str(file)!r} has a table [{key}]; settings are at the top or in [train]")
            if name in config:
                raise InputError(f"{name} is in {str(file)!r} twice; leave one out")
            config[name] = value
    for name in {"config", "resume", "replay"} & config.keys():
        raise InputError(f"{name} in {str(file)!r} is no setting of a run; give it as a flag: --{name}")
    return config


def refuse_unknown(config: Mapping[str, Any], known: Collection[str], file: Path | None) -> None:
    """Raise InputError if a setting of `file` is not `known`."""
    for name in config:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else "fastbat train --help lists them"
            raise InputError(f"unknown setting {name!r} in {str(file)!r}; {hint}")


def known_settings(method: str) -> set[str]:
    """Return the names of the settings of a run with `method`."""
    return {"method", "eps", "out", *method_settings(method), *(f.name for f in fields(Settings))}


def adapted(first: First, config: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the settings `config` without what belongs to another --method, and what another --model does not take.

    Raises InputError if one of the others is unknown.
    """
    config = dict(config)
    if (before := config.get("method", method)) in METHODS and before != method:
        for name in method_settings(before) - {"eps"} | (set() if config.get("eps") else {"eps"}):
            config.pop(name, None)
    if first.model is not None:
        for name in set(SHAPE) - {"activation"} - find_model(first.model).settings.keys():
            config.pop(name, None)
    refuse_unknown(config, known_settings(method), first.file)
    return config


def check_resolved(file: Path, resolved: Mapping[str, Any]) -> None:
    """Raise InputError where what followed from the settings in `file` follows no more; precision is the device's."""
    before = read_toml(file).get("resolved", {})
    for name, was in before.items():
        now = resolved.get(name)
        if name != "precision" and name in resolved and now != was:
            raise InputError(f"{name} was {was} in {str(file)!r}, and is {now} now; give --{name.replace('_', '-')}")


def left_out(first: First, given: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return in a line, if there is one, which of the settings `given` of the file are not in `config`."""
    names = [name for name in given if name not in config]
    return [f"not taken over from {first.file}, as method or model is another: {', '.join(names)}"] if names else []
