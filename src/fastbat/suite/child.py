"""The process of a trial: commands of fastbat, one after another; it ends if the process that started it does.

    python -m fastbat.suite.child JOBS LOG      # LOG names it in a list of processes

Each line of standard input is a command, as JSON: a list of words, or null where no more will come. Each is answered by
a line of JSON on standard output: its exit status and what it printed. Whatever else is printed goes to stderr.

The other process holds the other end of standard input. A system closes it with the last of its threads, so that a
killed suite leaves no training behind, which would hold its run directory, and loses no update of one.
"""

import gc
import json
import os
import signal
import sys
import time
import traceback
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from queue import SimpleQueue
from threading import Thread

import torch

from fastbat.training.signals import TRIAL

PATIENCE = 120  # seconds that a training has to finish its step

Words = list[str]


def listen(commands: SimpleQueue[Words | None]) -> None:
    """Hand on the commands of standard input; where it ends before it says so, end this process as a scheduler would.

    A training then finishes its step and writes its state; what takes longer than PATIENCE is left as it is.
    """
    for line in sys.stdin:
        commands.put(words := json.loads(line))
        if words is None:
            return
    commands.put(None)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(128 + signal.SIGTERM)


def run(words: Words) -> dict[str, object]:
    """Return the exit status of a command of fastbat and what it printed."""
    sys.argv = ["fastbat", *words]
    status: object = 0
    with redirect_stdout(StringIO()) as printed:
        try:
            import_module("fastbat.cli").main(words)  # of a layer above
        except SystemExit as stop:
            status = stop.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
    gc.collect()  # what a training held is free for its evaluation
    return {"status": status, "printed": printed.getvalue()}


def serve(jobs: int) -> None:
    """Run commands with this process's share of the threads, until there are no more."""
    os.environ[TRIAL] = "1"
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    commands: SimpleQueue[Words | None] = SimpleQueue()
    Thread(target=listen, args=(commands,), daemon=True).start()
    while (words := commands.get()) is not None:
        print(json.dumps(run(words)), file=answers, flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):  # the other process says that it was stopped, or was killed
        serve(int(sys.argv[1]))
