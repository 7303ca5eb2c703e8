"""The commands, and how they end."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any, get_type_hints

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict

from fastbat.cli.evaluate import Request, check_evaluation, diagnose_command, evaluate_command, export_command
from fastbat.cli.listing import list_command
from fastbat.cli.train import (
    DEFAULT_METHOD,
    configure,
    peek,
    read_config,
    refuse_fractions,
    refuse_stale,
    train_command,
)
from fastbat.errors import DivergedError, InputError, choose, no_memory
from fastbat.methods import METHODS, Method
from fastbat.progress import say
from fastbat.training import Run, Settings


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line `tokens` (sys.argv's unless given) and exit with its status."""
    tokens = in_grey_levels(sys.argv[1:] if tokens is None else tokens)
    try:
        build_app(tokens)(tokens, exit_on_error=False, print_error=False)
    except (InputError, DivergedError, CycloptsError) as error:
        fail(" ".join(str(error).split()), 2)
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        fail(f"{what}; check its folder, its rights and the free space", 2)
    except (MemoryError, RuntimeError) as error:
        if not no_memory(error):
            raise
        fail("not enough memory; lower --batch-size or --width, or give fewer or smaller images", 2)
    except KeyboardInterrupt:
        fail(f"stopped{how_to_go_on(tokens)}", 130)


def in_grey_levels(tokens: Sequence[str]) -> list[str]:
    """Return the command line with budgets written as 8/255 written as 8."""
    plain = [token.replace("/255", "") if token.startswith("--eps=") else token for token in tokens]
    after = ["", *plain][: len(plain)]
    return [token.replace("/255", "") if flag == "--eps" else token for flag, token in zip(after, plain, strict=True)]


def how_to_go_on(tokens: Sequence[str]) -> str:
    """Return what to do after Ctrl-C, behind a semicolon, where there is something to go on with."""
    if tokens[:1] == ["evaluate"]:
        return "; in a run directory, or with --out, the same command goes on where it stopped"
    if tokens[:1] == ["suite"]:
        return "; the same command goes on where it stopped"
    out = peek(tokens, "--out") if tokens[:1] == ["train"] else None
    if out is None or not Run(out).config.exists():
        return ""
    return f"; go on after the last finished epoch with: fastbat train --out {shlex.quote(out)} --resume"


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
    commands = (METHODS[method], Settings) if training else (Request, diagnose_command)
    refuse_fractions(tokens, config, {name: hint for each in commands for name, hint in get_type_hints(each).items()})
    from fastbat.cli.suite import suite  # here, for it checks its table with `check_command`

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
    app.command(diagnose_command, name="diagnose")
    app.command(export_command, name="export")
    app.command(suite)
    app.command(list_command, name="list")
    return app


def check_command(tokens: Sequence[str]) -> None:
    """Raise InputError where `tokens`, a training or an evaluation, would be refused; start nothing."""
    arguments = parse(tokens)
    if tokens[0] == "train":
        configure(**arguments)
    else:
        check_evaluation(**arguments)


def configure_command(tokens: Sequence[str]) -> tuple[Method, Settings]:
    """Return the method and the settings of a command line of `fastbat train`."""
    return configure(**parse(tokens))


def parse(tokens: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of the command line `tokens`; InputError where it is refused."""
    try:
        tokens = in_grey_levels(tokens)
        _, bound, _ = build_app(tokens).parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise InputError(" ".join(str(error).split())) from error
    return dict(bound.arguments)
