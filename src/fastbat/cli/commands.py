"""The commands that take a model or a run: their parser, and what it makes of a command line."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cyclopts import App, CycloptsError, UnknownOptionError, UnusedCliTokensError
from cyclopts.config import Dict

from fastbat.cli.config import adapted, left_out, read_config
from fastbat.cli.evaluate import (
    check_diagnosis,
    check_evaluation,
    diagnose_command,
    evaluate_command,
    export_command,
)
from fastbat.cli.first import First, read_first
from fastbat.cli.train import configure, train_command
from fastbat.cli.words import VALUE
from fastbat.errors import InputError, choose, nearest
from fastbat.methods import METHODS, Method
from fastbat.training import Settings
from fastbat.training.settings import METHOD


def model_commands(words: Sequence[str]) -> App:
    """Return the parser of the command line `words`; `train` has the flags of the method that they or its file name.

    Raises InputError where the file of settings cannot be used, CycloptsError where a flag is malformed.
    """
    first = read_first(words[1:]) if words[:1] == ["train"] else First()
    given = read_config(first)
    method = choose("method", str(first.method or given.get("method", METHOD)), METHODS)
    config = adapted(first, given, method)
    app = App(
        name="fastbat",
        help="Fast adversarial training by bi-level optimization, and honest evaluation of what it gives.",
        config=Dict(config, use_commands_as_keys=False, source=repr(str(first.file))),
        default_parameter=VALUE,
        result_action="return_none",
        suppress_keyboard_interrupt=False,
    )
    repeated = None if first.causes else first.file
    app.command(train_command(method, left_out(first, given, config), repeated), name="train")
    app.command(evaluate_command, name="evaluate")
    app.command(diagnose_command, name="diagnose")
    app.command(export_command, name="export")
    return app


def check_command(words: Sequence[str]) -> None:
    """Raise InputError where `words` (train, evaluate or diagnose) would be refused; start nothing."""
    checks: dict[str, Callable[..., Any]] = {
        "train": configure,
        "evaluate": check_evaluation,
        "diagnose": check_diagnosis,
    }
    checks[words[0]](**parse(words))


def configure_command(words: Sequence[str]) -> tuple[Method, Settings]:
    """Return the method and the settings of a command line of `fastbat train`."""
    return configure(**parse(words))


def parse(words: Sequence[str]) -> Mapping[str, Any]:
    """Return the arguments of the command line `words`; InputError where it is refused."""
    try:
        return model_commands(words).parse_args(words, exit_on_error=False, print_error=False)[1].arguments
    except CycloptsError as error:
        raise InputError(one_line(error)) from error


def one_line(error: Exception) -> str:
    """Return the text of an error in one line, with what to write instead."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        word = error.unused_tokens[0]
        if word.lower() in ("true", "false"):
            return f"{word!r} belongs to no flag; a switch takes its value after =, as in --flip={word.lower()}"
        return f"{word!r} belongs to no flag; put a value with blanks in quotes"
    if isinstance(error, UnknownOptionError):
        return unknown(error)
    return " ".join(str(error).split())


def unknown(error: UnknownOptionError) -> str:
    """Return the line about an unknown flag, with the nearest one by spelling."""
    name = (error.token.keyword or error.token.value).partition("=")[0].strip("-[]")
    known = [
        name[2:] for each in error.argument_collection or () if each.parse for name in each.names if name[:2] == "--"
    ]
    near = nearest(name, known)
    if name.startswith("no-") and name[3:] in known:
        return f"--{name} is not a flag; write --{name[3:]}=false"
    return f"Unknown option: --{name}." + (f" Did you mean --{near}?" if near else "")
