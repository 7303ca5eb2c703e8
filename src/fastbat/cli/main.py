"""The commands, and how they end."""

import os
import shlex
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from fastbat.cli.commands import model_commands, one_line
from fastbat.cli.ending import Terminated, sigterm_as_ctrl_c
from fastbat.cli.first import read_first
from fastbat.cli.listing import list_command
from fastbat.cli.plot import plot_command
from fastbat.cli.report import report_command
from fastbat.cli.suite import suite
from fastbat.errors import DivergedError, InputError, Stopped, lost_another, no_memory, said_elsewhere
from fastbat.progress import complain, say
from fastbat.training import Run


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line `words` (sys.argv's unless given) and exit with its status."""
    words = sys.argv[1:] if words is None else words
    try:
        with sigterm_as_ctrl_c():
            build_app(words)(words, exit_on_error=False, print_error=False)
    except DivergedError as error:  # on all processes
        say(f"fastbat: {one_line(error)}")
        sys.exit(2)
    except (InputError, CycloptsError) as error:
        fail(error, one_line(error), 2)
    except BrokenPipeError:  # of stdout, as after `| head`, which wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)  # as after SIGPIPE
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        fail(error, f"{what}; check its folder, its rights and the free space", 2)
    except (MemoryError, RuntimeError) as error:
        if lost_another(error):
            say("fastbat: another process has ended, and so do all; what was written before is kept")
            sys.exit(1)
        if not no_memory(error):
            raise
        fail(error, "not enough memory; lower --batch-size or --width, or give fewer or smaller images", 2)
    except Stopped as stop:  # all processes
        say(f"fastbat: {stop}")
        sys.exit(128 + stop.number)
    except KeyboardInterrupt as stop:
        fail(stop, f"stopped{how_to_resume(words)}", 143 if isinstance(stop, Terminated) else 130)


def build_app(words: Sequence[str]) -> App:
    """Return the parser of the command line `words`, with all commands; it raises what `model_commands` raises."""
    app = model_commands(words)
    app.command(suite)
    app.command(report_command, name="report")
    app.command(plot_command, name="plot")
    app.command(list_command, name="list")
    app.register_install_completion_command(help="Install completion for this shell: bash, zsh, fish or PowerShell.")
    return app


def how_to_resume(words: Sequence[str]) -> str:
    """Return what to do after Ctrl-C or SIGTERM, behind a semicolon, if there is something to resume."""
    if words[:1] == ["evaluate"]:
        return "; in a run directory, or with --out, the same command resumes where it stopped"
    if words[:1] == ["suite"]:
        return "; the same command resumes where it stopped"
    out = read_first(words[1:]).out if words[:1] == ["train"] else None
    if out is None or not Run(out).config.exists():
        return ""
    return f"; resume with: fastbat train --out {shlex.quote(str(out))} --resume"


def fail(error: BaseException, line: str, status: int) -> None:
    """Print one line on stderr, unless another process prints it, and exit."""
    if not said_elsewhere(error):
        complain(line)
    sys.exit(status)
