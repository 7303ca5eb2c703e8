"""Running a table of trials: finished ones never again, a failure stopping no other, each where an engine takes it.

DIR/
  suite.toml        the table as it was run last
  inputs.json       the content of its data sets then: suite/inputs.py
  results.jsonl     one record a finished or failed trial
  estimate.json     what `fastbat suite estimate` found, if it was told the folder
  RUN, RUN.log      of a trial: suite/execute.py
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from fastbat.errors import InputError
from fastbat.files import append_record, locked, read_records, replacing, write_json
from fastbat.progress import bar, say
from fastbat.suite.engine import Execute
from fastbat.suite.execute import Record, changed_inputs, commands, description, log_of, outcome
from fastbat.suite.remaining import RESULTS, Measure, Remaining
from fastbat.suite.trials import INPUTS, TABLE, Trial, needs
from fastbat.training import Run

Check = Callable[[Sequence[str]], None]

LOOK_AGAIN, SECONDS_BETWEEN_LINES = 10, 600  # how far trials are: looked for, and said where no terminal has a bar


def run_suite(
    trials: Sequence[Trial],
    table: str,
    out: Path,
    engine: AbstractContextManager[Execute],
    jobs: int,
    measure: Measure = tuple,
) -> list[Record]:
    """Run the trials that `out` has not finished, `jobs` at a time; return the last record of each.

    `table` is the TOML that they are from, which is kept. `measure` says what trials take, if nothing else does.
    """
    with ExitStack() as scope:
        for folder in {out.resolve(), *(trial.place(out).parent.resolve() for trial in trials)}:  # and their store
            scope.enter_context(locked(folder, "running trials"))
        records = {trial.name: record for trial in trials if (record := finished(trial, out))}
        left = [trial for trial in trials if trial.name not in records]
        remaining = Remaining(left, out, jobs, measure)
        say(beginning(trials, left, out, remaining))
        show = scope.enter_context(bar("trials", SECONDS_BETWEEN_LINES))
        pool = scope.enter_context(ThreadPoolExecutor(jobs))
        execute = scope.enter_context(engine)
        with replacing(out / TABLE) as file:
            file.write(table.encode())
        write_json(out / INPUTS, {name: sha for trial in trials for name, sha in trial.inputs.items()})
        for record in executed(left, out, pool, execute, jobs):
            if record is not None:
                append_record(out / RESULTS, record)
                records[record["trial"]] = record
            share, rest = remaining.now([trial for trial in left if trial.name not in records])
            done = f"{len(records)} of {len(trials)} done{', ' * bool(rest)}{rest}"
            if record is not None:
                say(f"{record['trial']}: {outcome(record)}; {done}")
            show(share, done)
    return [records[trial.name] for trial in trials]


def executed(
    trials: Sequence[Trial], out: Path, pool: ThreadPoolExecutor, execute: Execute, jobs: int
) -> Iterator[Record | None]:
    """Yield the record of each trial as it ends, None now and then; one that others name ends before these begin."""
    by_name = {trial.name: trial for trial in trials}
    order = TopologicalSorter({name: before & by_name.keys() for name, before in needs(trials).items()})
    order.prepare()
    ready, running = list[str](), dict[Future[Record], str]()
    while order.is_active():
        ready = sorted([*ready, *order.get_ready()], key=list(by_name).index)
        while ready and len(running) < jobs:
            trial = by_name[ready.pop(0)]
            say(f"{trial.name}: running, with its output in {log_of(Run(trial.place(out))).name}")
            running[pool.submit(execute, trial)] = trial.name
        ended = wait(running, LOOK_AGAIN, FIRST_COMPLETED).done
        if not ended:
            yield None
        for future in ended:
            order.done(running.pop(future))
            yield future.result()


def beginning(trials: Sequence[Trial], left: Sequence[Trial], out: Path, remaining: Remaining) -> str:
    """Return what is there and what is to come, and for how long, in one line."""
    begun = sum(Run(trial.place(out)).metrics.exists() for trial in left)
    said = f"{len(trials)} trials, {len(trials) - len(left)} of them finished before"
    said += f", {begun} begun or trained for another suite" if begun else ""
    return "; ".join(filter(None, (said, remaining.at_first())))


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


def finished(trial: Trial, out: Path) -> Record | None:
    """Return the record of `trial` if it was finished with just these settings, evaluations and inputs."""
    now = {name: value for name, value in description(trial).items() if name != "inputs"}.items()
    records = [each for each in read_records(out / RESULTS) if each["status"] == "finished" and now <= each.items()]
    same = [each for each in records if not changed_inputs(trial, each)]
    return same[-1] if same else None
