"""The processes of trials: one each, in which its commands of `fastbat` run one after another; its output in a log."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Timer


class ChildError(RuntimeError):
    """A command of a trial ended with an error; its text is the last line that it printed."""


class Children:
    """The processes of trials that run now, each with its share of the threads, lest they wait for each other."""

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs
        self.running: set[Popen[str]] = set()
        self.ended = False

    @contextmanager
    def process(self, log: Path) -> Iterator["Child"]:
        """Yield the process of one trial, which starts with its first command and ends with the block."""
        child = Child(self, log)
        try:
            yield child
            child.finish()
        finally:
            child.end()

    def start(self, log: Path) -> Popen[str]:
        """Start a process that waits for commands, its stderr added to `log`."""
        command = [sys.executable, "-m", "fastbat.suite.child", str(self.jobs), str(log)]
        with log.open("a") as file:
            process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=file, text=True)
        self.running.add(process)
        if self.ended:
            process.terminate()
        return process

    def end(self) -> None:
        """End them, and what is started from now on; they go on from where they were."""
        self.ended = True
        for process in list(self.running):
            process.terminate()


class Child:
    """The process of one trial (suite/child.py)."""

    def __init__(self, children: Children, log: Path) -> None:
        self.children, self.log = children, log
        self.process: Popen[str] | None = None

    def execute(self, arguments: Sequence[str]) -> str:
        """Run `fastbat` with `arguments`; return its stdout, or raise ChildError."""
        with self.log.open("a+") as file:
            file.write(f"$ fastbat {shlex.join(arguments)}\n")
            file.flush()
            begin = file.tell()
            answer = self.ask(arguments)
            file.seek(begin)
            said = file.read().strip().splitlines()
        if answer["status"]:
            *_, last = ["it said nothing", *said[-1:], *(line for line in said if line.startswith("fastbat: "))]
            raise ChildError(f"{last.removeprefix('fastbat: ')} (exit status {answer['status']}; {self.log.name})")
        return str(answer["printed"])

    def ask(self, arguments: Sequence[str]) -> dict[str, object]:
        """Return the exit status of a command and what it printed; the status of the process where that has died."""
        process = self.process = self.process or self.children.start(self.log)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(json.dumps(arguments), file=process.stdin, flush=True)
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        found: dict[str, object] = json.loads(answer) if answer else {"status": process.wait(), "printed": ""}
        return found

    def finish(self) -> None:
        """Wait until the process has ended by itself, where it was started."""
        if self.process is not None:
            with suppress(BrokenPipeError):
                print("null", file=self.process.stdin, flush=True)
            self.process.wait()

    def end(self) -> None:
        """End the process at once, where it still runs."""
        if self.process is not None:
            with suppress(BrokenPipeError), self.process:
                pass  # its input is closed
            self.children.running.discard(self.process)


def printed_by(arguments: Sequence[str], jobs: int, most: float) -> str:
    """Return what a command prints to stdout, in a process like a trial's; nothing if it fails or takes `most` seconds.

    Its stderr is nowhere kept.
    """
    children = Children(jobs)
    timer = Timer(most, children.end)
    timer.start()
    try:
        with children.process(Path(os.devnull)) as child:
            return child.execute(arguments)
    except ChildError:
        return ""
    finally:
        timer.cancel()
