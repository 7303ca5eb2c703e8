"""fastbat train: the settings of a run and of its method as flags, over those of a TOML file."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields
from inspect import Parameter as Argument
from inspect import Signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter
from docstring_parser import parse_from_object

from fastbat.cli.config import check_resolved
from fastbat.cli.words import BUDGET
from fastbat.files import check_file
from fastbat.geometry import tiny
from fastbat.methods import METHODS, Method
from fastbat.progress import say
from fastbat.training import Run, Settings
from fastbat.training.settings import EPS, METHOD, describe, make_method, method_settings


def train_command(name: str, notes: Sequence[str] = (), file: Path | None = None) -> Callable[..., None]:
    """Return `fastbat train` with the settings of the method `name` among its flags; it prints `notes` first.

    What the `file` of settings says of what follows from them is checked, if there is one.
    """
    method_class = METHODS[name]
    hints = get_type_hints(method_class)
    docs = {p.arg_name: p.description for p in parse_from_object(method_class).params}
    own = [f for f in fields(method_class) if f.init and f.name != "eps"]  # type: ignore[arg-type]

    def command(
        *,
        method: str = METHOD,
        eps: float = EPS,
        out: Path | None = None,
        resume: bool = False,
        config: Path | None = None,
        replay: Path | None = None,
        settings: Settings = Settings(),  # noqa: B008 (frozen)
        **options: Any,
    ) -> None:
        run = Run(out or Path("runs") / f"{settings.dataset}-{method}-eps{eps:g}-seed{settings.seed}")
        chosen, settings = configure(method=method, eps=eps, settings=settings, **options)
        if replay is not None:
            from fastbat.training import replay as replay_fault

            say(replay_fault(chosen, settings, replay))
            return
        described = describe(chosen, settings)
        run.check(described, resume)
        if file is not None:
            check_resolved(file, described["resolved"])
        if settings.init_from is not None and not (run.states or settings.init_from.is_dir()):
            check_file(settings.init_from)
        from fastbat.runtime.processes import start_processes
        from fastbat.training import train

        start_processes()  # behind all checks: where one process refuses, none has written
        for note in (*notes, *filter(None, [tiny(chosen.eps)] if chosen.eps else ())):
            say(note)
        train(chosen, settings, run.path, resume=resume)
        say(f"finished; measure it with: fastbat evaluate {shlex.quote(str(run.path))} --attacks clean,pgd,aa")

    def flag(arg: str, kind: Any, default: Any, group: str, help: str | None) -> Argument:
        annotation = Annotated[kind, *([BUDGET] if arg == "eps" else []), Parameter(help=help, group=group)]
        return Argument(arg, Argument.KEYWORD_ONLY, default=default, annotation=annotation)

    training = Annotated[Settings, Parameter(name="*", group="Training")]
    flags = [
        flag("method", str, METHOD, "Run", "Training method by name; fastbat list methods names them."),
        flag("eps", float, EPS, "Run", "Linf budget trained against, on the 0-255 scale."),
        flag("out", Path | None, None, "Run", "Run directory; runs/DATASET-METHOD-epsE-seedS unless given."),
        flag(
            "resume",
            bool,
            False,
            "Run",
            "Go on where the run in --out stopped, on any number of processes, or start it if there is none.",
        ),
        flag(
            "config",
            Path | None,
            None,
            "Run",
            "TOML file of settings (or of a table [train]), under flags. RUN/config.toml repeats it.",
        ),
        flag("replay", Path | None, None, "Run", "Run directory whose failed update is made again, in float32."),
        *(flag(f.name, hints[f.name], f.default, f"Settings of {name}", docs.get(f.name)) for f in own),
        Argument("settings", Argument.KEYWORD_ONLY, default=Settings(), annotation=training),
    ]
    command.__doc__ = "Train a robust model into a run directory. Under torchrun several processes share each batch."
    command.__signature__ = Signature(flags)  # type: ignore[attr-defined]
    command.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return command


def configure(
    *,
    method: str = METHOD,
    eps: float = EPS,
    settings: Settings = Settings(),  # noqa: B008 (frozen)
    **options: Any,
) -> tuple[Method, Settings]:
    """Return what the parsed flags of `fastbat train` configure; InputError where that is not to be had."""
    own = {name: options[name] for name in method_settings(method) & options.keys()}
    chosen = make_method(method, {**own, "eps": eps})
    settings.check(chosen)
    settings.resolved(chosen)
    return chosen, settings
