"""Running a table of trials: each in its own process, finished ones never again, a failure stopping no other.

DIR/
  suite.toml        the table as it was run last
  results.jsonl     one record a finished or failed trial
  estimate.json     what `fastbat suite estimate` found, if it was told the folder
  RUN/              the run directory of a trial, of its name, or in a store that tables share
  RUN.begun.jsonl   the settings it was begun with, and a record a finished evaluation
  RUN.log           what it printed, with its commands
"""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from fastbat.errors import InputError
from fastbat.files import append_record, locked, read_json, read_records, read_safetensors, replacing, write_records
from fastbat.lazy import torch
from fastbat.progress import say
from fastbat.provenance import now
from fastbat.suite.trials import TABLE, Trial, flags
from fastbat.training import Run
from fastbat.training.run import completed, different
from fastbat.training.settings import METHOD, effective

Check = Callable[[Sequence[str]], None]
Record = dict[str, Any]

RESULTS, ESTIMATE = "results.jsonl", "estimate.json"


class ChildError(RuntimeError):
    """A trial's process ended with an error; its text is the last line that it printed."""


class Children:
    """The processes of trials that run now, each with its share of the threads, lest they wait for each other."""

    def __init__(self, jobs: int) -> None:
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
            command = [sys.executable, "-m", "fastbat.cli", *arguments]
            with Popen(command, stdout=PIPE, stderr=file, text=True, env=self.environment) as child:
                self.running.add(child)
                if self.ended:
                    child.terminate()
                printed = child.communicate()[0]
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


def run_suite(
    trials: Sequence[Trial], table: str, out: Path, check: Check, extra: Mapping[str, Any], jobs: int = 1
) -> list[Record]:
    """Run the trials that `out` has not finished, `jobs` at a time; return the last record of each.

    `table` is the TOML that they are from, which is kept. `check` raises InputError where a command of `fastbat` would
    be refused: all are checked before the first trial is started. `extra` are settings of this machine, such as the
    data folder, for all trials; they belong to no table.
    """
    check_all(trials, out, check, extra)
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; at least one trial runs at a time")
    with ExitStack() as scope:
        for folder in {out.resolve(), *(trial.place(out).parent.resolve() for trial in trials)}:  # and their store
            scope.enter_context(locked(folder, "running trials"))
        with replacing(out / TABLE) as file:
            file.write(table.encode())
        records = {trial.name: record for trial in trials if (record := finished(trial, out))}
        left = [trial for trial in trials if trial.name not in records]
        say(beginning(trials, left, out, jobs))
        children, start = Children(jobs), time.monotonic()
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for future in as_completed([pool.submit(run_trial, trial, out, extra, children) for trial in left]):
                    record = future.result()
                    append_record(out / RESULTS, record)
                    records[record["trial"]] = record
                    waiting = len(trials) - len(records)
                    more = (time.monotonic() - start) / (len(left) - waiting) * waiting
                    rest = f", about {duration(more)} left" if waiting else ""
                    say(f"{record['trial']}: {outcome(record)}; {len(records)} of {len(trials)} done{rest}")
            except BaseException:  # Ctrl-C, as a rule
                pool.shutdown(wait=False, cancel_futures=True)
                children.end()
                raise
    return [records[trial.name] for trial in trials]


def beginning(trials: Sequence[Trial], left: Sequence[Trial], out: Path, jobs: int) -> str:
    """Return what is there and what is to come, in one line; for how long, where the suite was estimated."""
    begun = sum(Run(trial.place(out)).metrics.exists() for trial in left)
    said = f"{len(trials)} trials, {len(trials) - len(left)} of them finished before"
    said += f", {begun} begun or trained for another suite" if begun else ""
    hours = {each["trial"]: each["hours"] for each in read_json(out / ESTIMATE).get("trials", ())}
    if not left or any(trial.name not in hours for trial in left):
        return said
    return f"{said}; at most {duration(3600 * sum(hours[trial.name] for trial in left) / jobs)} by {ESTIMATE}"


def duration(seconds: float) -> str:
    """Return a time in hours from 90 minutes on, in minutes below."""
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"


def check_all(trials: Sequence[Trial], out: Path, check: Check, extra: Mapping[str, Any]) -> None:
    """Raise InputError, naming the trial, where one of its commands would be refused; of those alike one is checked."""
    seen = set[str]()
    for trial in trials:
        try:
            for about, command in commands(trial, out, extra):
                if about not in seen:
                    check(command)
                    seen.add(about)
        except InputError as error:
            raise InputError(f"trial {trial.name!r}: {error}") from error


def commands(trial: Trial, out: Path, extra: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a trial, each behind what decides whether it is accepted."""
    seed = trial.train.get("seed", 0)
    alike = {**trial.train, "seed": "any" if type(seed) is int and seed >= 0 else seed}
    yield repr(alike), ["train", *flags({**trial.train, **extra}), f"--out={trial.place(out)}"]
    for evaluation in trial.evaluations:
        if "ema" in evaluation.get("checkpoint", "") and "ema" not in trial.train:
            raise InputError(f"checkpoint is {evaluation['checkpoint']}, but no average is trained; set ema")
        budget = trial.train.get("method") != "standard" or "eps" in {**trial.train, **evaluation}
        if not budget and evaluation.get("attacks") != "clean":
            raise InputError("it is attacked, but trained against no budget; set eps in [evaluate]")
        yield repr(asked(trial, evaluation)), evaluate_command(trial, out, evaluation, extra)


def finished(trial: Trial, out: Path) -> Record | None:
    """Return the record of `trial` if it was finished with just these settings and evaluations."""
    now = description(trial).items()
    same = [each for each in read_records(out / RESULTS) if each["status"] == "finished" and now <= each.items()]
    return same[-1] if same else None


def description(trial: Trial) -> Record:
    """Return what identifies a trial in its records."""
    return {"trial": trial.name, "train": trial.train, "evaluate": trial.evaluations}


def evaluate_command(trial: Trial, out: Path, evaluation: Record, extra: Mapping[str, Any]) -> list[str]:
    """Return the arguments of `fastbat` that measure `trial`, at its training's budget unless another is set."""
    return ["evaluate", str(trial.place(out)), *flags({**asked(trial, evaluation), **extra}), "--json"]


def asked(trial: Trial, evaluation: Record) -> Record:
    """Return the settings of an evaluation of `trial`, with those that follow from it."""
    budget = {"eps": trial.train["eps"]} if "eps" in trial.train else {}
    return {**budget, "checkpoint": "best", **evaluation}


def run_trial(trial: Trial, out: Path, extra: Mapping[str, Any], children: Children) -> Record:
    """Train, going on where it was begun, and evaluate, in processes of their own; return whatever became of it."""
    record: Record = {**description(trial), "run": trial.run, "status": "finished", "started": now()}
    run = Run(trial.place(out))
    log, kept = (run.path.with_name(f"{run.path.name}{ending}") for ending in (".log", ".begun.jsonl"))
    resume = ["--resume"] if run.config.exists() else []
    say(f"{trial.name}: running, with its output in {log.name}")
    try:
        restore_or_start(trial, kept, run)
        children.execute(["train", *flags({**trial.train, **extra}), f"--out={run.path}", *resume], log)
        record["results"] = []
        for evaluation in trial.evaluations:
            found = made_before(trial, run, kept, evaluation)
            if found is None:
                found = json.loads(children.execute(evaluate_command(trial, out, evaluation, extra), log))
                append_record(kept, {"evaluate": evaluation, "result": found})
            record["results"].append(found)
        record["epochs"], record["provenance"] = read_records(run.metrics), read_records(run.provenance)
        record["resolved"] = effective(run.read_config())
    except (ChildError, OSError, ValueError) as error:
        record |= {"status": "failed", "error": str(error)}
    return {**record, "ended": now()}


def restore_or_start(trial: Trial, kept: Path, run: Run) -> None:
    """Keep on disk what a trial is begun with; InputError where it was begun with other settings."""
    if not (kept.exists() and run.config.exists()):
        write_records(kept, [{"train": trial.train}])
    train = read_records(kept)[0]["train"]
    if names := different(*(completed({"method": METHOD, **settings}) for settings in (train, trial.train))):
        was = ", ".join(f"{name} = {train.get(name, 'left out')}" for name in names)
        raise InputError(f"{str(run.path)!r} was begun with {was}; remove it, or name another --out")


def made_before(trial: Trial, run: Run, kept: Path, evaluation: Record) -> Record | None:
    """Return the record of the same evaluation of the same weights, as where the last epoch is the best; else None."""
    wanted = asked(trial, evaluation)
    done = [(asked(trial, each["evaluate"]), each["result"]) for each in read_records(kept)[1:]]
    for before, found in done:
        if before == wanted:
            return dict(found)
    for before, found in done:
        names = [settings["checkpoint"] for settings in (wanted, before)]
        if {**wanted, "checkpoint": names[1]} == before and same_weights(*map(run.weights, names)):
            return {**found, "settings": {**found["settings"], "target": f"{names[0]}.safetensors"}}
    return None


def same_weights(one: Path, other: Path) -> bool:
    """Say whether two files of weights have the same checksum and metadata."""
    return read_safetensors(one)[1] == read_safetensors(other)[1]


def outcome(record: Record) -> str:
    """Return in one line what became of a trial."""
    if record["status"] == "failed":
        return f"failed: {record['error']}"
    found = [f"{each['label']} {each['percent']:.1f}" for result in record["results"] for each in result["accuracies"]]
    return ", ".join(["finished", *found])
