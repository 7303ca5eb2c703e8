"""The commands, and how they end."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError, UnusedCliTokensError
from cyclopts.config import Dict

from fastbat.cli.config import adapted, left_out, read_config, refuse_unknown, source
from fastbat.cli.evaluate import check_evaluation, diagnose_command, evaluate_command, export_command
from fastbat.cli.listing import list_command
from fastbat.cli.plot import plot_command
from fastbat.cli.report import report_command
from fastbat.cli.tokens import flags_of, in_grey_levels, peek, refuse_fractions, refuse_repeated, refuse_switches
from fastbat.cli.train import configure, train_command
from fastbat.errors import DivergedError, InputError, choose, nearest, no_memory
from fastbat.methods import METHODS, Method
from fastbat.progress import say
from fastbat.training import CAUSES, Run, Settings
from fastbat.training.settings import METHOD

NO_NEGATIVES = Parameter(negative=())  # --flip=false, not --no-flip


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line `tokens` (sys.argv's unless given) and exit with its status."""
    tokens = in_grey_levels(sys.argv[1:] if tokens is None else tokens)
    try:
        build_app(tokens)(tokens, exit_on_error=False, print_error=False)
    except (InputError, DivergedError, CycloptsError) as error:
        fail(one_line(error), 2)
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        fail(f"{what}; check its folder, its rights and the free space", 2)
    except (MemoryError, RuntimeError) as error:
        if not no_memory(error):
            raise
        fail("not enough memory; lower --batch-size or --width, or give fewer or smaller images", 2)
    except KeyboardInterrupt:
        fail(f"stopped{how_to_go_on(tokens)}", 130)


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


def one_line(error: Exception) -> str:
    """Return the text of an error in one line; an unknown option is answered with the nearest one by spelling."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{error.unused_tokens[0]!r} belongs to no flag; put a value with blanks in quotes"
    if not isinstance(error, UnknownOptionError) or error.token.source != "cli":
        return " ".join(str(error).split())
    unknown = (error.token.keyword or error.token.value).partition("=")[0]
    near = nearest(unknown.lstrip("-"), [name.lstrip("-") for name in flags_of(error.argument_collection)])
    return f"Unknown option: {unknown}." + (f" Did you mean --{near}?" if near else "")


def build_app(tokens: Sequence[str]) -> App:
    """Return the command line; `train` has the flags of the method that `tokens` or the configuration file name.

    Raises InputError where `tokens` or the file say what the parser would take for something else.
    """
    refuse_repeated(tokens)
    training = tokens[:1] == ["train"]
    given = read_config(tokens) if training else {}
    named = peek(tokens, "--method") if training else None
    method = choose("method", str(named or given.get("method", METHOD)), METHODS)
    config = adapted(tokens, given, method)
    from fastbat.cli.suite import suite  # here, for it checks its table with `check_command`

    app = App(
        name="fastbat",
        help="Fast adversarial training by bi-level optimization, and honest evaluation of what it gives.",
        config=Dict(config, use_commands_as_keys=False, source=str(source(tokens) if training else None)),
        default_parameter=NO_NEGATIVES,
        result_action="return_none",
        suppress_keyboard_interrupt=False,
    )
    repeats = training and not any(peek(tokens, f"--{cause}") for cause in CAUSES)
    app.command(
        train_command(method, left_out(tokens, given, config), source(tokens) if repeats else None), name="train"
    )
    app.command(evaluate_command, name="evaluate")
    app.command(diagnose_command, name="diagnose")
    app.command(export_command, name="export")
    app.command(suite)
    app.command(report_command, name="report")
    app.command(plot_command, name="plot")
    app.command(list_command, name="list")
    app.register_install_completion_command(help="Install completion for this shell: bash, zsh, fish or PowerShell.")
    chain, (*_, command), _ = app.parse_commands(tokens)
    if command.default_command is not None and not chain[-1].startswith("-"):
        arguments = command.assemble_argument_collection(default_parameter=NO_NEGATIVES)
        refuse_unknown(config, flags_of(arguments), source(tokens))
        refuse_switches(tokens, arguments)
        refuse_fractions(tokens, config, arguments)
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
        raise InputError(one_line(error)) from error
    return dict(bound.arguments)
