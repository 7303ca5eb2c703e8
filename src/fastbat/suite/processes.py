"""The processes of trials: each command of `fastbat` in one of its own, its output in the trial's log."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE, Popen

from fastbat.lazy import torch


class ChildError(RuntimeError):
    """A trial's process ended with an error; its text is the last line that it printed."""


class Children:
    """The processes of trials that run now, each with its share of the threads, lest they wait for each other."""

    def __init__(self, jobs: int = 1) -> None:
        self.running: set[Popen[str]] = set()
        self.ended = False
        share = {} if jobs == 1 else {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // jobs))}
        self.environment = os.environ | share

    def execute(self, arguments: Sequence[str], log: Path) -> str:
        """Run `fastbat` with `arguments`, its stderr added to `log`; return its stdout, or raise ChildError."""
        with log.open("a+") as file:
            file.write(f"$ fastbat {shlex.join(arguments)}\n")
            file.flush()
            begin = file.tell()
            command = [sys.executable, "-m", "fastbat.suite.child", *arguments]
            with Popen(command, stdin=PIPE, stdout=PIPE, stderr=file, text=True, env=self.environment) as child:
                self.running.add(child)
                if self.ended:
                    child.terminate()
                printed = child.stdout.read() if child.stdout else ""  # its input stays open until it has ended
                child.wait()
                self.running.remove(child)
            file.seek(begin)
            said = file.read().strip().splitlines()
        if child.returncode:
            *_, last = ["it said nothing", *said[-1:], *(line for line in said if line.startswith("fastbat: "))]
            raise ChildError(f"{last.removeprefix('fastbat: ')} (exit status {child.returncode}; {log.name})")
        return printed

    def end(self) -> None:
        """End them, and what is started from now on; they go on from their last finished epoch."""
        self.ended = True
        for child in list(self.running):
            child.terminate()
