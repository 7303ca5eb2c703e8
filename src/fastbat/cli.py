"""The command line: fastbat train | evaluate | export | list. Thin: it parses, calls, prints. eps is on 0-255 here.

Results go to stdout, progress and errors to stderr. Exit status: 0 done, 2 an error, 130 stopped by Ctrl-C.
"""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from inspect import Parameter as Argument
from inspect import Signature
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import torch
from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict
from docstring_parser import parse_from_object
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fastbat.data import DATASETS
from fastbat.errors import DivergedError, InputError, choose
from fastbat.evaluation import ATTACKS, Evaluation
from fastbat.methods import METHODS
from fastbat.models import FOREIGN, MODELS, Architecture, find_model
from fastbat.progress import say
from fastbat.training import Run, Settings, evaluate_run, export_model, read_toml, train

DEFAULT_METHOD = "fast-bat"


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line `tokens` (sys.argv's unless given) and exit with its status."""
    tokens = list(sys.argv[1:] if tokens is None else tokens)
    try:
        build_app(tokens)(tokens, exit_on_error=False, print_error=False)
    except (InputError, CycloptsError) as error:
        fail(" ".join(str(error).split()), 2)
    except DivergedError as error:
        fail(str(error), 2)
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        fail(f"{what}; check its folder, its rights and the free space", 2)
    except (MemoryError, torch.OutOfMemoryError):
        fail("not enough memory; lower --batch-size or --width", 2)
    except KeyboardInterrupt:
        out = peek(tokens, "--out")
        hint = (
            f"; go on after the last finished epoch with: fastbat train --out {shlex.quote(out)} --resume"
            if out
            else ""
        )
        fail(f"stopped{hint}", 130)


def fail(line: str, status: int) -> None:
    """Print one line on stderr and exit."""
    say(f"fastbat: {line}")
    sys.exit(status)


def build_app(tokens: Sequence[str]) -> App:
    """Return the command line; `train` has the flags of the method that `tokens` or the configuration file name."""
    training = tokens[:1] == ["train"]
    config = read_config(tokens) if training else {}
    method = (peek(tokens, "--method") or config.get("method")) if training else None
    method = choose("method", str(method or DEFAULT_METHOD), METHODS)
    refuse_stale(tokens, config, method)
    app = App(
        name="fastbat",
        help="Fast adversarial training by bi-level optimization, and honest evaluation of what it gives.",
        config=Dict(config, use_commands_as_keys=False, source=peek(tokens, "--config") or "config.toml"),
        default_parameter=Parameter(negative=()),
        result_action="return_none",
        suppress_keyboard_interrupt=False,
    )
    app.command(train_command(method), name="train")
    app.command(evaluate_command, name="evaluate")
    app.command(export_command, name="export")
    app.command(list_command, name="list")
    return app


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
        return read_toml(Path(file))
    if "--resume" in tokens and out is not None:
        return Run(Path(out)).read_config()
    return {}


def refuse_stale(tokens: Sequence[str], config: dict[str, Any], method: str) -> None:
    """Raise InputError where a flag changes what a configured number was resolved for, as lam was for its eps.

    What another --model does not take is left out of `config`.
    """
    shape = ("width", "stem")
    if (model := peek(tokens, "--model")) is not None:
        for name in set(shape) - find_model(model).settings.keys():
            config.pop(name, None)
    per_eps = tuple(f.name for f in fields(METHODS[method]) if "per_eps" in f.metadata)  # type: ignore[arg-type]
    depend = {"eps": per_eps, "dataset": ("model", *shape, "max_lr"), "model": shape}
    for setting, names in depend.items():
        before, now = str(config.get(setting)).removesuffix(".0"), peek(tokens, f"--{setting}")
        if setting not in config or now is None or now.removesuffix(".0") == before:
            continue
        for name in names:
            flag = f"--{name.replace('_', '-')}"
            if name in config and peek(tokens, flag) is None:
                raise InputError(
                    f"{name} = {config[name]} belongs to {setting} {before}; for {setting} {now} give {flag} too"
                )


def train_command(name: str) -> Callable[..., None]:
    """Return `fastbat train` with the settings of the method `name` among its flags."""
    method_class = METHODS[name]
    hints, docs = (
        get_type_hints(method_class),
        {p.arg_name: p.description for p in parse_from_object(method_class).params},
    )
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
        run = train(METHODS[method](eps=eps / 255, **options), settings, target, resume=resume)
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
        flag(
            "config",
            Path | None,
            None,
            "Run",
            "TOML file of settings; flags override it. RUN/config.toml repeats a run.",
        ),
        *(flag(f.name, hints[f.name], f.default, f"Settings of {name}", docs.get(f.name)) for f in own),
        Argument("settings", Argument.KEYWORD_ONLY, default=Settings(), annotation=training),
    ]
    command.__doc__ = "Train a robust model into a run directory."
    command.__signature__ = Signature(flags)  # type: ignore[attr-defined]
    command.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return command


def evaluate_command(
    target: Path,
    /,
    *,
    checkpoint: Literal["best", "last", "best-ema", "last-ema"] = "best",
    attacks: str = "clean,pgd",
    eps: float | None = None,
    pgd_steps: int = 50,
    pgd_restarts: int = 10,
    limit: int | None = None,
    batch_size: int = 250,
    seed: int = 0,
    data_dir: Path | None = None,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Measure how robust a trained model is, on the test images of its data set.

    Parameters
    ----------
    target
        A run directory, or one of its .safetensors files.
    checkpoint
        Which weights of a run directory: of the best epoch by robust validation accuracy or the last, raw or averaged.
    attacks
        Comma-separated: clean, pgd, aa (AutoAttack standard).
    eps
        Linf budget of the attacks on the 0-255 scale; the one trained against unless given.
    pgd_steps
        Steps of PGD, each of eps / 4.
    pgd_restarts
        Random starts of PGD.
    limit
        Only the first N test images.
    batch_size
        Images attacked at a time.
    seed
        Of the attacks' random starts.
    data_dir
        Folder with the data set; the one trained from unless given.
    device
        cpu, cuda, or auto: cuda where there is one.
    json
        Print one JSON object instead of a table.
    """
    result = evaluate_run(
        target,
        checkpoint,
        eps=None if eps is None else eps / 255,
        attacks=[choose("attack", attack.strip(), ATTACKS) for attack in attacks.split(",")],
        pgd_steps=pgd_steps,
        pgd_restarts=pgd_restarts,
        limit=limit,
        batch_size=batch_size,
        seed=seed,
        data_dir=data_dir,
        device=device,
    )
    print_json(result.record()) if json else Console().print(evaluation_table(result))


def export_command(
    target: Path,
    file: Path,
    /,
    *,
    checkpoint: Literal["best", "last"] = "best",
) -> None:
    """Write a trained model for other programs: images in [0, 1] in, logits out.

    Parameters
    ----------
    target
        A run directory, or one of its .safetensors files.
    file
        FILE.safetensors: weights and what they are of; FILE.pt2: a torch.export program for batches of any size.
    checkpoint
        Which weights of a run directory: those of the best epoch by robust validation accuracy, or of the last.
    """
    say(f"wrote {export_model(target, file, checkpoint)}")


def evaluation_table(result: Evaluation) -> Table:
    """Return the table of one evaluation of a checkpoint."""
    about = result.settings
    title = f"{about['checkpoint']}, epoch {about['epoch']}: eps {result.eps * 255:g}/255, {result.n} images"
    table = Table("attack", "accuracy, %", "seconds", title=title, min_width=len(title))
    for attack, accuracy in result.accuracies.items():
        table.add_row(result.label(attack), str(accuracy), f"{accuracy.seconds:.1f}")
    table.caption = "\n".join([r"\[low, high]: 95 % interval over the draw of the images", *result.warnings])
    return table


def list_command(what: Literal["methods", "models", "datasets", "attacks"], *, json: bool = False) -> None:
    """Name what there is.

    Parameters
    ----------
    what
        methods, models, datasets or attacks.
    json
        Print one JSON object, name to description, instead of a table.
    """
    entries = {
        "methods": {name: parse_from_object(cls).short_description or "" for name, cls in METHODS.items()},
        "models": {name: describe_model(card) for name, card in MODELS.items()} | FOREIGN,
        "datasets": {name: card.source for name, card in DATASETS.items()},
        "attacks": ATTACKS,
    }[what]
    if json:
        print_json(entries)
        return
    table = Table("name", "what it is")
    for name, text in entries.items():
        table.add_row(name, escape(text))
    Console().print(table)


def describe_model(card: Architecture) -> str:
    """Return what a network is and the settings it takes."""
    return f"{card.what}; {', '.join(f'{name} {value}' for name, value in card.settings.items())}"


def print_json(value: dict[str, Any]) -> None:
    """Print one line of JSON on stdout."""
    print(json.dumps(value))


if __name__ == "__main__":
    main()
