"""Every suite by name from its first command to the report, small: whether it runs. The numbers mean nothing.

    python examples/smoke.py      # make smoke

It prints a line a suite. Stopped or killed at any time it goes on when it is called again, unless the commit is another
one. Once it has come to its end it begins again.
"""

import os
import shutil
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from fastbat.cli import main as fastbat
from fastbat.progress import say
from fastbat.provenance import commit
from fastbat.report import write_report
from fastbat.suite import named, status

OUT = Path("runs/smoke")
BEGUN = "commit.txt"  # that it was begun at; removed when it has come to its end
STOPPED = 130  # exit status


def main() -> None:
    """Run all suites and write the report; exit with 1 if a trial failed."""
    start, jobs = time.monotonic(), min(4, os.cpu_count() or 1)
    begin_or_go_on(OUT / BEGUN)
    failed = [name for name in named.names() if not whole(name, jobs)]
    (OUT / BEGUN).unlink()
    report = write_report([OUT], OUT / "report.html", "Every suite by name, on stand-ins, to see whether it runs")
    say(f"{minutes(start)}; the report, to open in a browser: {report}")
    sys.exit(bool(failed))


def begin_or_go_on(begun: Path) -> None:
    """Remove what another commit left, or what has come to its end."""
    at = str(commit())
    if begun.exists() and begun.read_text() == at:
        say(f"going on in {OUT}")
        return
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    begun.write_text(at)


def whole(name: str, jobs: int) -> bool:
    """Run a suite, its output in a file of its own; print a line of what came out, and return whether all of it ran."""
    start, log = time.monotonic(), OUT / f"{name}.log"
    print(f"{name:<11}", end="", flush=True)
    code = run(["suite", "run", name, "--scale=smoke", f"--out={OUT}", f"--jobs={jobs}"], log)
    if code == STOPPED:
        print("stopped; make smoke goes on")
        sys.exit(code)
    states = {row.trial: row.state for row in status(OUT / name)} if (OUT / name / "suite.toml").exists() else {}
    finished = sum(state.startswith("finished") for state in states.values())
    fault = f"; see {log}" if code else ""
    print(f"{finished:>3} of {len(states)} trials finished, {minutes(start)}{fault}")
    return not code


def run(words: list[str], log: Path) -> int:
    """Run a command of fastbat, what it prints added to `log`; return its exit status."""
    with log.open("a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        try:
            fastbat(words)
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def minutes(start: float) -> str:
    """Return the time since `start`."""
    passed = round(time.monotonic() - start)
    return f"{passed // 60} min {passed % 60:02} s"


if __name__ == "__main__":
    main()
