"""Training: SGD on the losses a method yields, the best epoch by robust validation accuracy, a run on disk.

Everything random in a step belongs to (seed, step), so a run that is stopped after any step and resumed gives the
weights of one that never stopped, bit for bit on one CPU with the same number of threads. Under torchrun each process
has its share of every batch (exchange.py); the first one has the files.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fastbat.files import append_record, locked, read_records, write_records
from fastbat.methods import Method, beyond_published
from fastbat.methods.remedy import describe_remedy, remedy
from fastbat.models import save_model
from fastbat.progress import say
from fastbat.provenance import provenance, versions
from fastbat.runtime.device import peak_memory_mib
from fastbat.runtime.precision import ieee_float32
from fastbat.runtime.processes import on_first, rank, start_processes, world
from fastbat.training.alarm import Alarm
from fastbat.training.checkpoints import Checkpoints
from fastbat.training.epoch import train_epoch
from fastbat.training.faults import faults_explained
from fastbat.training.loggers import logger
from fastbat.training.overfitting import describe_reaction, reaction
from fastbat.training.prepare import prepare
from fastbat.training.run import Run
from fastbat.training.selection import is_best, majority_accuracy, validate
from fastbat.training.settings import Settings, describe, effective
from fastbat.training.signals import noted_signals
from fastbat.training.state import FILES, PartialEpoch, State
from fastbat.training.task import Task


@ieee_float32()
def train(method: Method, settings: Settings, out: Path | str, *, resume: bool = False) -> Run:
    """Train a network into a run directory; seeds torch's global generators.

        fastbat.train(FastBAT(eps=8 / 255), Settings(dataset="cifar10", data_dir=Path("data")), "runs/first")

    Args:
        method: one of METHODS, or a class of yours with `losses`.
        settings: data set, network and schedule; what is left open follows from data set and method.
        out: the run directory, which must be new or empty unless `resume` is given.
        resume: continue the run in `out` where it stopped, with the settings that it was started with, if there is one.

    Returns:
        The run: its weights, its metrics and its settings on disk.

    Raises:
        InputError: Before anything is written, if `out` holds another run, `resume` comes with other settings, data are
            missing, or the method cannot train this network on these images.
        DivergedError: If the loss or a weight is not finite. Finished epochs are kept.
        Stopped: After SIGINT or SIGTERM, between two updates; what to resume from is on disk.
    """
    start_processes()
    run = Run(out)
    resume, start, precision = on_first(lambda: first_look(run, method, settings, resume))
    task, state, line = prepare(method, settings, start=start, precision=precision)
    with ExitStack() as scope:
        on_first(lambda: claim(run, task, resume, scope))
        say(line)
        for name, heavy in beyond_published(task.method).items():
            say(f"{heavy}; set it with --{name.replace('_', '-')}")
        checkpoints = Checkpoints(run, task, state, scope.enter_context(noted_signals()))
        stopped = restore_or_start(run, task, state, checkpoints)
        log = scope.enter_context(logger(task.settings.log if rank() == 0 else "none", run.path, state.epoch))
        while state.epoch < task.epochs and not stopped:
            with faults_explained(run, task, state, checkpoints):
                record = train_epoch(task, state, checkpoints)
            with checkpoints.between_epochs():
                record |= validate(task, state)
            does, why = reaction(record, settings.on_collapse, settings.on_alarm)
            if does == "rollback" and (fix := remedy(state.method)):
                roll_back(state, fix, record, why, checkpoints)
                continue
            stopped = does == "stop"
            if why:
                say(f"{why}{describe_reaction(does)}")
            finish_epoch(run, task, state, record, checkpoints)
            on_first(lambda record=record: log(record))  # type: ignore[misc]
        checkpoints.finish()
        warn_if_not_robust(task, state)
    return run


def first_look(run: Run, method: Method, settings: Settings, resume: bool) -> tuple[bool, Path | None, str]:
    """Return whether the run is resumed, the weights that it starts from, and its precision as far as it is known.

    Raises InputError where it can be neither started nor resumed.
    """
    resume = resume and run.begun
    run.check(describe(method, settings), resume)
    before = effective(run.read_config()) if resume else {}
    return resume, None if run.states else settings.init_from, before.get("precision", "auto")


def claim(run: Run, task: Task, resume: bool, scope: ExitStack) -> None:
    """Hold the run's folder within `scope`, and write how this start of it came about."""
    scope.enter_context(locked(run.path, "training"))
    run.check(task.config, resume)  # again: another process may have been here while the data were read
    run.remove_leftovers()
    run.write_config(task.config)
    about = {**provenance(task.device), "versions": versions("torch", "numpy")}
    append_record(run.provenance, about | ({"processes": world()} if world() > 1 else {}))


def restore_or_start(run: Run, task: Task, state: State, checkpoints: Checkpoints) -> bool:
    """Take the state up to where the run on disk is, or write the first one; return whether it was stopped there."""
    if resumed := on_first(lambda: bool(run.states)):
        checkpoints.restore()
    else:
        if task.settings.init_from is not None and task.method.eps:
            with checkpoints.between_epochs():
                state.best_ra = validate(task, state)["val_ra"]
        checkpoints.save_epoch()
        on_first(lambda: write_records(run.metrics, []))
    records = on_first(lambda: read_records(run.metrics))
    how = task.settings.on_collapse, task.settings.on_alarm
    stopped = any(reaction(record, *how)[0] == "stop" for record in records)
    if resumed and (stopped or state.epoch == task.epochs):
        why = "in which the guard stopped it" if stopped else "the last"
        say(f"nothing is left to train in {str(run.path)!r} after epoch {state.epoch}, {why}")
    return stopped


def roll_back(state: State, fix: Method, record: dict[str, Any], why: str, checkpoints: Checkpoints) -> None:
    """Take the epoch of `record` back, for the reason `why`, and go on with `fix`."""
    checkpoints.restore_epoch()
    state.method, state.alarm = fix, Alarm()
    state.discarded.append(record)
    checkpoints.save_epoch()
    say(f"{why}; back to epoch {state.epoch}, then {describe_remedy(fix)}")


def finish_epoch(run: Run, task: Task, state: State, record: dict[str, Any], checkpoints: Checkpoints) -> None:
    """Write a finished epoch: weights first, the state that says it is finished last."""
    state.epoch, state.partial = state.epoch + 1, PartialEpoch()
    if state.discarded:
        record |= {"discarded": state.discarded}
    record |= state.remedy_record(task)
    state.discarded, state.best_ra = [], max(state.best_ra, record.get("val_ra", -1.0))
    for kind in state.models:
        record[f"best{FILES[kind]}"] = is_best(state, kind, record)
    on_first(lambda: write_epoch(run, task, state, record))
    checkpoints.save_epoch()
    say(epoch_line(record, task.epochs))


def write_epoch(run: Run, task: Task, state: State, record: dict[str, Any]) -> None:
    """Write the weights and the record of an epoch."""
    for kind, model in state.models.items():
        for which in ("best", "last") if record[f"best{FILES[kind]}"] else ("last",):
            save_model(run.weights(f"{which}{FILES[kind]}"), model, state.about(task))
    append_record(run.metrics, record | {"peak_memory_mib": peak_memory_mib(task.device)})


def warn_if_not_robust(task: Task, state: State) -> None:
    """Say if no epoch was more robust than always naming the commonest class."""
    best, guess = max(ra for ra, _ in state.best.values()), majority_accuracy(task.validation[1])
    if state.method.eps and best <= guess:
        says = f"RA {best:.1f} % at best on validation images, where always naming one class has {guess:.1f} %"
        say(f"no epoch is robust: {says}")


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """Return the line of an epoch's log."""
    loss = f"loss {record['loss']:.4f}" if "loss" in record else "no loss"
    active = f"  active {record['active']:.0%}" if "active" in record else ""
    skipped = f"  {record['skipped']} batches skipped" if "skipped" in record else ""
    robust = f" RA {record['val_ra']:.1f} %" if "val_ra" in record else ""
    if "val_ema_ra" in record:
        robust += f" (average {record['val_ema_sa']:.1f}, {record['val_ema_ra']:.1f} %)"
    return (
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  {loss}{active}{skipped}"
        f"  validation SA {record['val_sa']:.1f} %{robust}"
        f"  {record['seconds']:.1f} s + {record['select_seconds']:.1f} s selection{'  best' if record['best'] else ''}"
    )
