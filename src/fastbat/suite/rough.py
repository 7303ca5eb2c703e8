"""What trials take, roughly and within seconds: one update of each kind, on as many images as there is time for.

It is timed on SOME images first. Where those take more than a MOMENT, the time of the batch lies on the line through
theirs and that of FEW images; else the whole batch is timed. Networks are neither compiled nor tried beforehand. A kind
that there is no time for takes as long as the others do in the mean.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import mean

from fastbat.data import Splits, load
from fastbat.methods import Method
from fastbat.models import build_model
from fastbat.runtime.device import pick_device
from fastbat.runtime.precision import in_precision, pick_precision
from fastbat.suite.estimate import Configure, Cost, cost_of, pass_seconds, timed
from fastbat.suite.trials import Trial, flags
from fastbat.training import Settings
from fastbat.training.dry_run import first_images, on_device_of
from fastbat.training.prepare import SOURCE, layout_of, optimizer
from fastbat.training.settings import under
from fastbat.training.state import State
from fastbat.training.task import Task

FEW, SOME = 4, 16  # images
MOMENT, SECONDS = 0.4, 5.0  # of an update, and of all


def rough(trials: list[Trial], configure: Configure) -> list[Cost]:
    """Return the cost of each trial, roughly; trials that differ in seed, eps or fractions are one kind."""
    end, splits, found = time.perf_counter() + SECONDS, dict[str, Splits](), dict[str, Cost]()
    for trial in trials:
        if kind_of(trial) not in found and (not found or time.perf_counter() < end):
            found[kind_of(trial)] = measure(trial, *configure(flags(trial.train)), splits)
    return [replace(found.get(kind_of(trial)) or like(trial, found), trial=trial.name) for trial in trials]


def kind_of(trial: Trial) -> str:
    """Return what trials that take equally long have in common."""
    same = {name: each for name, each in trial.train.items() if name not in ("seed", "eps") and type(each) is not float}
    return repr((same, trial.evaluations))


def measure(trial: Trial, method: Method, settings: Settings, splits: dict[str, Splits]) -> Cost:
    """Return the cost of a trial by one update and two steps of PGD; `splits` are the data sets loaded so far."""
    device = pick_device(settings.device)
    precision = pick_precision(device) if settings.precision == "auto" else settings.precision
    settings = replace(settings.resolved(method), precision=precision, compile=False, ema=None)  # type: ignore[arg-type]
    how = {name: getattr(settings, name) for name in ("data_dir", *SOURCE)}
    source = repr((settings.dataset, how))
    splits[source] = splits.get(source) or load(settings.dataset, **how)
    task = Task.of(under(settings.protocol, method), settings, splits[source])
    state = begin(task)
    batch = next(task.loader.epoch(0))
    step = extrapolated(lambda n: timed(task, state, batch.rows(slice(n)), 0), len(batch.y))
    one = extrapolated(lambda n: n * pass_seconds(task, state, n), len(batch.y)) / len(batch.y)
    return cost_of(trial, task, state, step, one)


def extrapolated(seconds: Callable[[int], float], images: int) -> float:
    """Return the seconds of so many images, where those of fewer are found by calling `seconds`."""
    few, some = min(FEW, images), min(SOME, images)
    _, least, more = seconds(few), seconds(few), seconds(some)
    if more < MOMENT:
        return seconds(images)
    return more + max(0.0, more - least) * (images - some) / max(1, some - few)


def begin(task: Task) -> State:
    """Return the state before the first step."""
    model, precision = (
        on_device_of(first_images(task.loader, 1).x, build_model(**task.network)),
        task.settings.precision,
    )
    model.to(memory_format=layout_of(task, model, precision))
    net, best = in_precision(model, precision), {"model": (-1.0, -1.0)}
    return State(task.method, {"model": model}, net, None, None, optimizer(task, model), best=best)


def like(trial: Trial, found: dict[str, Cost]) -> Cost:
    """Return the mean of the costs that were measured."""
    every = found.values()
    return Cost(
        trial.name,
        round(mean(cost.steps for cost in every)),
        mean(cost.seconds_per_step for cost in every),
        mean(cost.selection for cost in every),
        round(mean(cost.epochs for cost in every)),
        mean(cost.evaluation for cost in every),
    )
