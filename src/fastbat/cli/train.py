"""fastbat train: the settings of a run and of its method as flags, over those of a TOML file."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from inspect import Parameter as Argument
from inspect import Signature
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter
from docstring_parser import parse_from_object

from fastbat.errors import InputError
from fastbat.files import read_toml
from fastbat.methods import METHODS, Method
from fastbat.models import SHAPE, find_model
from fastbat.progress import say
from fastbat.training import Run, Settings, train
from fastbat.training.protocol import PROTOCOLS, Protocol

DEFAULT_METHOD = "fast-bat"


def peek(tokens: Sequence[str], flag: str) -> str | None:
    """Return what `flag` is set to, ahead of the parsing proper."""
    for token, following in zip_longest(tokens, tokens[1:], fillvalue=""):
        if token == flag:
            return following
        if token.startswith(f"{flag}="):
            return token.removeprefix(f"{flag}=")
    return None


def read_config(tokens: Sequence[str]) -> dict[str, Any]:
    """Return the settings of --config FILE, or of the run that --resume goes on with."""
    file, out = peek(tokens, "--config"), peek(tokens, "--out")
    if file is not None:
        run = Run(Path(file).parent)
        return run.read_config() if run.config == Path(file) and run.state.exists() else read_toml(Path(file))
    if {"--resume", "--resume=true"} & set(tokens) and out is not None:
        return Run(out).read_config()
    return {}


def refuse_fractions(tokens: Sequence[str], config: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise InputError where a whole number is given as a fraction, which the parser would round."""
    for name, hint in hints.items():
        value = peek(tokens, f"--{name.replace('_', '-')}") or config.get(name)
        if hint in (int, int | None) and "." in str(value):
            raise InputError(f"{name} is {value}; it must be a whole number")


def refuse_stale(tokens: Sequence[str], config: dict[str, Any], method: str) -> None:
    """Raise InputError where a flag changes what a configured number was resolved for, as lam was for its eps.

    What another --model does not take, and what belongs to another --method, is left out of `config`.
    """
    if (before := config.get("method", method)) in METHODS and before != method:
        for name in method_settings(before) - ({"eps"} if config.get("eps") else set()):
            config.pop(name, None)
        budgets = any(hasattr(METHODS[each], "budget") for each in (method, before))
        for name in {"max_lr", "epochs"} & config.keys() if budgets else ():
            refuse_unless_given(tokens, config, name, "method", method)
    shape = tuple(name for name in SHAPE if name != "activation")
    if (model := peek(tokens, "--model")) is not None:
        for name in set(shape) - find_model(model).settings.keys():
            config.pop(name, None)
    per_eps = tuple(f.name for f in fields(METHODS[method]) if "per_eps" in f.metadata)  # type: ignore[arg-type]
    by_data = ("model", *shape, "max_lr", "epochs", "weight_decay", "decay_batchnorm", "validation")
    by_protocol = tuple(f.name for f in fields(Protocol))
    depend = {"eps": per_eps, "dataset": by_data, "model": shape, "protocol": by_protocol}
    for setting, names in depend.items():
        before, now = str(config.get(setting)).removesuffix(".0"), peek(tokens, f"--{setting}")
        if setting not in config or now is None or now.removesuffix(".0") == before:
            continue
        for name in names:
            if name in config:
                refuse_unless_given(tokens, config, name, setting, now)


def refuse_unless_given(tokens: Sequence[str], config: Mapping[str, Any], name: str, setting: str, now: str) -> None:
    """Raise InputError unless `name`, which was resolved for what `setting` was before, is given anew."""
    flag, before = f"--{name.replace('_', '-')}", str(config.get(setting)).removesuffix(".0")
    if peek(tokens, flag) is None:
        raise InputError(f"{name} = {config[name]} belongs to {setting} {before}; for {setting} {now} give {flag} too")


def method_settings(name: str) -> set[str]:
    """Return the names of a method's own settings."""
    return {f.name for f in fields(METHODS[name]) if f.init}  # type: ignore[arg-type]


def train_command(name: str) -> Callable[..., None]:
    """Return `fastbat train` with the settings of the method `name` among its flags."""
    method_class = METHODS[name]
    hints = get_type_hints(method_class)
    docs = {p.arg_name: p.description for p in parse_from_object(method_class).params}
    own = [f for f in fields(method_class) if f.init and f.name != "eps"]  # type: ignore[arg-type]

    def command(
        *,
        method: str = name,
        eps: float = 8.0,
        out: Path | None = None,
        resume: bool = False,
        config: Path | None = None,
        settings: Settings = Settings(),  # noqa: B008 (frozen)
        **options: Any,
    ) -> None:
        target = out or Path("runs") / f"{settings.dataset}-{method}-eps{eps:g}-seed{settings.seed}"
        chosen, settings = configure(method=method, eps=eps, settings=settings, **options)
        run = train(chosen, settings, target, resume=resume)
        say(f"finished; measure it with: fastbat evaluate {shlex.quote(str(run.path))} --attacks clean,pgd,aa")

    def flag(arg: str, kind: Any, default: Any, group: str, help: str | None) -> Argument:
        annotation = Annotated[kind, Parameter(help=help, group=group)]
        return Argument(arg, Argument.KEYWORD_ONLY, default=default, annotation=annotation)

    training = Annotated[Settings, Parameter(name="*", group="Training")]
    flags = [
        flag("method", str, name, "Run", "Training method by name; fastbat list methods names them."),
        flag("eps", float, 8.0, "Run", "Linf budget trained against, on the 0-255 scale."),
        flag("out", Path | None, None, "Run", "Run directory; runs/DATASET-METHOD-epsE-seedS unless given."),
        flag("resume", bool, False, "Run", "Go on after the last finished epoch of --out, with its own settings."),
        flag("config", Path | None, None, "Run", "TOML file of settings, under flags; RUN/config.toml repeats a run."),
        *(flag(f.name, hints[f.name], f.default, f"Settings of {name}", docs.get(f.name)) for f in own),
        Argument("settings", Argument.KEYWORD_ONLY, default=Settings(), annotation=training),
    ]
    command.__doc__ = "Train a robust model into a run directory."
    command.__signature__ = Signature(flags)  # type: ignore[attr-defined]
    command.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return command


def configure(
    *,
    method: str = DEFAULT_METHOD,
    eps: float = 8.0,
    settings: Settings = Settings(),  # noqa: B008 (frozen)
    **options: Any,
) -> tuple[Method, Settings]:
    """Return what the parsed flags of `fastbat train` configure; raise InputError where that is not to be had."""
    own = {name: options[name] for name in method_settings(method) & options.keys()}
    if "lam" in method_settings(method) and own.get("lam") is None:
        own["lam"] = PROTOCOLS[settings.protocol].lam
    chosen = METHODS[method](eps=eps / 255, **own)
    return chosen, replace(settings.resolved(chosen), precision=settings.precision)  # auto: a dry run decides
