"""The command line: fastbat train | evaluate | diagnose | export | suite | list. Thin: it parses, calls, prints.

eps is on the 0-255 scale here. Results go to stdout, progress and errors to stderr. Exit status: 0 done, 1 a trial of a
suite failed, 2 an error, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from fastbat.cli.main import main

__all__ = ["main"]
