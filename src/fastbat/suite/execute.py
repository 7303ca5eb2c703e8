"""One trial: its training, evaluations and closer looks, each a command of `fastbat`; what was made is not made again.

RUN/              the run directory, of the trial's name, or in a store that tables share
  look-.../       a closer look (`fastbat diagnose`)
RUN.begun.jsonl   the settings it was begun with, then a record for its training, each evaluation and look when finished
RUN.log           what it printed, with its commands
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastbat.errors import InputError
from fastbat.files import append_record, read_records, read_safetensors, write_records
from fastbat.provenance import now
from fastbat.suite.processes import Child, ChildError, Children
from fastbat.suite.trials import Trial, flags, surrogates_of, taken
from fastbat.training import Run
from fastbat.training.run import completed, different
from fastbat.training.settings import METHOD, effective

Record = dict[str, Any]


def run_trial(trial: Trial, out: Path, extra: Mapping[str, Any], children: Children) -> Record:
    """Train, going on where it was begun, and measure, in a process of its own; return whatever became of it."""
    record: Record = {**description(trial), "run": trial.run, "status": "finished", "started": now()}
    record |= {"stands_for": trial.stands_for} if trial.stands_for else {}
    run, extra = Run(trial.place(out)), taken(extra, trial)
    try:
        restore_or_start(trial, run)
        with children.process(log_of(run)) as child:
            record |= made(trial, run, out, extra, child)
    except (ChildError, OSError, ValueError) as error:
        record |= {"status": "failed", "error": str(error)}
    return {**record, "ended": now()}


def made(trial: Trial, run: Run, out: Path, extra: Mapping[str, Any], child: Child) -> Record:
    """Return what is recorded of a trial; run its commands that have not been."""
    kept, results = kept_of(run), list[Record]()
    if not any("trained" in each for each in read_records(kept)):
        child.execute([*train_command(trial, out, extra), *(["--resume"] if run.config.exists() else [])])
        append_record(kept, {"trained": now()})
    for evaluation in trial.evaluations:
        found = made_before(trial, run, kept, evaluation)
        if found is None:
            found = json.loads(child.execute(evaluate_command(trial, out, evaluation, extra)))
            append_record(kept, {"evaluate": written(trial, evaluation), "result": found})
        results.append(found)
    for look in trial.looks:
        if {"diagnose": look} not in read_records(kept):
            child.execute(diagnose_command(trial, out, look, extra))
            append_record(kept, {"diagnose": look})
    return {
        "results": results,
        "epochs": read_records(run.metrics),
        "provenance": read_records(run.provenance),
        "resolved": effective(run.read_config()),
    }


def log_of(run: Run) -> Path:
    """Return the file with what a trial printed."""
    return run.path.with_name(f"{run.path.name}.log")


def kept_of(run: Run) -> Path:
    """Return the file with what a trial was begun with, and what of it was made."""
    return run.path.with_name(f"{run.path.name}.begun.jsonl")


def description(trial: Trial) -> Record:
    """Return what identifies a trial in its records."""
    looks = {"diagnose": trial.looks} if trial.looks else {}
    inputs = {"inputs": trial.inputs} if trial.inputs else {}
    return {"trial": trial.name, "train": trial.train, "evaluate": trial.evaluations, **looks, **inputs}


def commands(trial: Trial, out: Path, extra: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a trial, each behind what decides whether it is accepted."""
    extra = taken(extra, trial)
    seed = trial.train.get("seed", 0)
    alike = {**trial.train, "seed": "any" if type(seed) is int and seed >= 0 else seed}
    yield repr(alike), train_command(trial, out, extra)
    for measured in (*trial.evaluations, *trial.looks):
        if "ema" in measured.get("checkpoint", "") and "ema" not in trial.train:
            raise InputError(f"checkpoint is {measured['checkpoint']}, but no average is trained; set ema")
        budget = trial.train.get("method") != "standard" or "eps" in {**trial.train, **measured}
        if not budget and measured.get("attacks") != "clean":
            part = "diagnose" if measured in trial.looks else "evaluate"
            raise InputError(f"it is attacked, but trained against no budget; set eps in [{part}]")
    for evaluation in trial.evaluations:
        yield repr(asked(trial, evaluation)), evaluate_command(trial, out, evaluation, extra)
    for look in trial.looks:
        yield repr(look), diagnose_command(trial, out, look, extra)


def train_command(trial: Trial, out: Path, extra: Mapping[str, Any]) -> list[str]:
    """Return the arguments of `fastbat` that train `trial`."""
    return ["train", *flags({**trial.train, **extra}), f"--out={trial.place(out)}"]


def evaluate_command(trial: Trial, out: Path, evaluation: Record, extra: Mapping[str, Any]) -> list[str]:
    """Return the arguments of `fastbat` that measure `trial`, at its training's budget unless another is set."""
    return ["evaluate", str(trial.place(out)), *flags({**asked(trial, evaluation, out), **extra}), "--json"]


def diagnose_command(trial: Trial, out: Path, look: Record, extra: Mapping[str, Any]) -> list[str]:
    """Return the arguments of `fastbat` that look closer at `trial`."""
    others = [f"{name}{value}" for name, value in look.items() if name != "checkpoint"]
    folder = "-".join(["look", look.get("checkpoint", "best"), *others])
    return ["diagnose", str(trial.place(out)), *flags({**look, **extra}), f"--out={trial.place(out) / folder}"]


def asked(trial: Trial, evaluation: Record, out: Path = Path()) -> Record:
    """Return the settings of an evaluation of `trial`, with those that follow from it; trials of the suite in `out`."""
    budget = {"eps": trial.train["eps"]} if "eps" in trial.train else {}
    return {**budget, "checkpoint": "best", **written(trial, evaluation, out)}


def written(trial: Trial, evaluation: Record, out: Path = Path()) -> Record:
    """Return the settings of an evaluation with the trials that it names as run directories, of a suite in `out`."""
    if not trial.surrogates:
        return evaluation
    runs = {name: str(out / run) for name, run in trial.surrogates.items()}
    named = [f"{name or target}={runs[target]}" if target in runs else f"{name}={target}".lstrip("=")
             for name, target in surrogates_of(evaluation)]  # fmt: skip
    return {**evaluation, **({"surrogates": ",".join(named)} if named else {})}


def restore_or_start(trial: Trial, run: Run) -> None:
    """Keep on disk what a trial is begun with; InputError where it was begun with other settings.

    Where that line was damaged, nothing says to what settings the others belong: they are made again.
    """
    kept, new = kept_of(run), {"train": trial.train, "inputs": trial.inputs}
    begun = next((record for record in read_records(kept) if "train" in record), None)
    if begun is None or not run.config.exists():
        write_records(kept, [begun := new])
    train, remedy = begun["train"], "remove it, or name another --out"
    if names := different(*(completed({"method": METHOD, **settings}) for settings in (train, trial.train))):
        was = ", ".join(f"{name} = {train.get(name, 'left out')}" for name in names)
        raise InputError(f"{str(run.path)!r} was begun with {was}; {remedy}")
    if names := changed_inputs(trial, begun):
        raise InputError(f"{str(run.path)!r} was begun with other content of {', '.join(names)}; {remedy}")


def changed_inputs(trial: Trial, record: Record) -> list[str]:
    """Return what the training of a record was made from that has changed since; an older record does not say."""
    before = record.get("inputs", {})
    return [name for name, content in trial.inputs.items() if before.get(name, content) != content]


def made_before(trial: Trial, run: Run, kept: Path, evaluation: Record) -> Record | None:
    """Return the record of the same evaluation of the same weights, as where the last epoch is the best; else None."""
    wanted = asked(trial, evaluation)
    done = [(asked(trial, each["evaluate"]), each["result"]) for each in read_records(kept) if "evaluate" in each]
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
