"""Settings of `fastbat train` from a TOML file: a flat table, or under [train] as suites have them; under flags."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from fastbat.cli.tokens import grey_levels, peek
from fastbat.errors import InputError, nearest
from fastbat.files import read_toml
from fastbat.methods import METHODS
from fastbat.models import SHAPE, find_model
from fastbat.training import CAUSES, Run, Settings
from fastbat.training.settings import effective, method_settings

SUITE = ("arm", "evaluate")  # tables of a suite, next to [train]
YES = ("true", "yes", "y", "t", "1")


def resumes(tokens: Sequence[str]) -> bool:
    """Say whether `tokens` ask to resume a run."""
    return any(token == "--resume" or token.lower() in (f"--resume={word}" for word in YES) for token in tokens)


def source(tokens: Sequence[str]) -> Path | None:
    """Return the file of settings: of --config, or of the run that --resume names by its --out."""
    file, out = peek(tokens, "--config"), peek(tokens, "--out")
    if file is not None:
        return Path(file)
    return Run(out).config if resumes(tokens) and out is not None else None


def read_config(tokens: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the file that `tokens` name; InputError where it holds anything else."""
    file = source(tokens)
    if file is None:
        return {}
    run, out = Run(file.parent), peek(tokens, "--out")
    if resumes(tokens) and out is not None:
        refuse_another(tokens, effective(Run(out).read_config()), Run(out))
    if run.config != file or not (run.state.exists() or resumes(tokens)):
        return flat(read_toml(file), file)
    table = run.read_config()
    if "resolved" not in table:
        refuse_stale(tokens, table, file)
    return flat(table, file)


def flat(table: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the settings at the top of `table` and under its [train]; InputError where it holds other tables.

    [resolved], which a run adds, is checked when all settings are known (`check_resolved`).
    """
    train, resolved = table.get("train", {}), table.get("resolved", {})
    if not isinstance(resolved, dict):
        raise InputError(f"resolved in {str(file)!r} is no setting; it is a table that a run adds")
    own = method_settings(table["method"]) if table.get("method") in METHODS else resolved.keys()
    refuse_unknown(resolved, [*own, *(f.name for f in fields(Settings))], file)
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
            config[name] = grey_levels(value) if name == "eps" and isinstance(value, str) else value
    for name in {"config", "resume"} & config.keys():
        raise InputError(f"{name} in {str(file)!r} is no setting of a run; give it as a flag: --{name}")
    return config


def refuse_unknown(config: Mapping[str, Any], known: Sequence[str], file: Path | None) -> None:
    """Raise InputError where a setting of `file` is none of the flags `known`."""
    names = [flag.removeprefix("--").replace("-", "_") for flag in known]
    for name in config:
        if name not in names:
            near = nearest(name, names)
            hint = f"did you mean {near!r}?" if near else "fastbat train --help lists them"
            raise InputError(f"unknown setting {name!r} in {str(file)!r}; {hint}")


def refuse_another(tokens: Sequence[str], config: Mapping[str, Any], run: Run) -> None:
    """Raise InputError where a flag changes what other settings of a run that is to resume follow from."""
    for name in CAUSES:
        given, before = peek(tokens, f"--{name}"), config.get(name)
        if given is not None and before and plain(given) != plain(before):  # eps 0: the method takes none
            raise run.refusal(name, before, given)


def refuse_stale(tokens: Sequence[str], config: Mapping[str, Any], file: Path) -> None:
    """Raise InputError where a flag changes what other numbers in the `file` of an older version follow from."""
    for name in CAUSES:
        given, before = peek(tokens, f"--{name}"), config.get(name)
        if given is not None and before and plain(given) != plain(before):
            raise InputError(
                f"{str(file)!r} was written by an older version, with numbers that belong to {name} {plain(before)}; "
                f"for {name} {given} start from settings of your own"
            )


def plain(value: Any) -> str:
    """Return a setting as text, 8.0 as 8."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return str(value)


def adapted(tokens: Sequence[str], config: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the settings `config` without what belongs to another --method, and what another --model does not take."""
    config = dict(config)
    if (before := config.get("method", method)) in METHODS and before != method:
        for name in method_settings(before) - {"eps"} | (set() if config.get("eps") else {"eps"}):
            config.pop(name, None)
    if (model := peek(tokens, "--model")) is not None:
        for name in set(SHAPE) - {"activation"} - find_model(model).settings.keys():
            config.pop(name, None)
    return config


def check_resolved(file: Path, resolved: Mapping[str, Any]) -> None:
    """Raise InputError where what followed from the settings in `file` follows no more; precision is the device's."""
    before = read_toml(file).get("resolved", {})
    for name, was in before.items():
        now = resolved.get(name)
        if name != "precision" and name in resolved and now != was:
            raise InputError(f"{name} was {was} in {str(file)!r}, and is {now} now; give --{name.replace('_', '-')}")


def left_out(tokens: Sequence[str], given: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return in a line, if there is one, what of the settings `given` is neither in `config` nor a flag."""
    names = [name for name in given if name not in config and peek(tokens, f"--{name.replace('_', '-')}") is None]
    return [f"not taken over from {source(tokens)}, as method or model is another: {', '.join(names)}"] if names else []
