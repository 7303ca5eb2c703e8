"""How long the trials of a suite take on this machine, and how much of that is left.

What a trial takes is known from, in this order,

    estimate.json    what `fastbat suite estimate --out DIR` found: at most, for an image that is broken leaves
    records          of trials that were finished on this machine, in this suite or in one beside it: of its training
                     with any seed, else of others with its network and images; and of its attacks
    a measurement    a few timed updates (suite/rough.py), where the others do not know every trial
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any

from fastbat.files import read_json, read_records
from fastbat.provenance import processor
from fastbat.suite.execute import Record, asked, kept_of
from fastbat.suite.trials import Trial
from fastbat.training import Run
from fastbat.training.run import completed
from fastbat.training.settings import METHOD

RESULTS, ESTIMATE = "results.jsonl", "estimate.json"
NETWORK = ("dataset", "model", "width", "train_limit", "epochs", "batch_size")

TOO_EARLY = 0.02  # a share that says nothing of the rest

Measure = Callable[[], Sequence[Record]]  # costs as in estimate.json; none where measuring fails or takes too long


@dataclass(frozen=True)
class Seconds:
    """What one trial takes."""

    training: float  # all epochs, with their selection
    evaluation: float
    start: float = 0.0  # of its process, and whatever else is recorded nowhere

    def left(self, trial: Trial, out: Path) -> float:
        """Return what is left of an unfinished trial, by its files."""
        run, evaluated = Run(trial.place(out)), len(trial.evaluations)
        kept = read_records(kept_of(run))
        epochs = int(completed({"method": METHOD, **trial.train})["epochs"])
        trained = any("trained" in each for each in kept) or len(read_records(run.metrics)) / epochs
        there = [asked(trial, each["evaluate"]) for each in kept if "evaluate" in each]
        made = sum(asked(trial, each) in there for each in trial.evaluations) / evaluated if evaluated else 1.0
        work = self.training * max(0.0, 1 - trained) + self.evaluation * (1 - made)
        return work + self.start if work else 0.0


class Remaining:
    """What is left of the trials of a suite, by their files and by the time that has passed."""

    def __init__(self, trials: Sequence[Trial], out: Path, jobs: int, measure: Measure) -> None:
        self.out, self.jobs = out, jobs
        self.seconds, self.words = expected(trials, out, measure) if trials else ({}, "")
        self.whole, self.start = self.work(trials), time.monotonic()

    def work(self, trials: Sequence[Trial]) -> float:
        """Return the seconds that are left of unfinished trials, one after another."""
        return sum(self.seconds[trial.name].left(trial, self.out) for trial in trials)

    def at_first(self) -> str:
        """Return how long it will take; nothing if nothing is known."""
        return self.words.format(duration(self.whole / self.jobs))

    def now(self, trials: Sequence[Trial]) -> tuple[float, str]:
        """Return the share that is done where these trials are unfinished, and how long the rest will take."""
        work, passed = self.work(trials), time.monotonic() - self.start
        done = 1 - work / self.whole if self.whole else 1.0
        if done < TOO_EARLY:
            return done, f"about {duration(work / self.jobs)} left" if self.words else "time unknown"
        return done, f"about {duration(passed * (1 - done) / done)} left" if trials else ""


def expected(trials: Sequence[Trial], out: Path, measure: Measure) -> tuple[dict[str, Seconds], str]:
    """Return what trials take, by name, and the words to say it in; where nothing is known all alike, and no words."""
    names = [trial.name for trial in trials]
    estimated = of_costs(read_json(out / ESTIMATE).get("trials", ()))
    if estimated.keys() >= set(names):
        return estimated, f"at most {{}} by {ESTIMATE}"
    recorded = of_records(trials, out)
    if recorded.keys() >= set(names):
        return recorded, "about {} by finished trials"
    found = of_costs(measure()) | recorded
    others = mean_of(found.values()) if found else Seconds(1.0, 1.0)
    return {name: found.get(name, others) for name in names}, "about {} by a few timed updates" if found else ""


def of_costs(costs: Sequence[Record]) -> dict[str, Seconds]:
    """Return what an estimate says of its trials."""
    return {
        each["trial"]: Seconds(
            each["steps"] * each["seconds_per_step"] + each["epochs"] * each["selection"], each["evaluation"]
        )
        for each in costs
    }


def of_records(trials: Sequence[Trial], out: Path) -> dict[str, Seconds]:
    """Return what finished trials say of these; nothing of one whose network or attacks none of them has."""
    records = list(finished_here(out))
    training = means((kind, trained(each)) for each in records for kind in (kind_of(each), network_of(each["train"])))
    attacks = means(
        ((network_of(each["train"]), a["attack"]), a["seconds"]) for each in records for a in accuracies(each)
    )
    starts = means((network_of(each["train"]), took) for each in records if (took := started(each)) > 0)
    found = {}
    for trial in trials:
        network = network_of(trial.train)
        long = training.get(kind_of({"train": trial.train})) or training.get(network)
        made = [attacks.get((network, attack)) for attack in attacks_of(trial)]
        if long is not None and None not in made:
            found[trial.name] = Seconds(long, sum(filter(None, made)), starts.get(network, 0.0))
    return found


def finished_here(out: Path) -> Iterator[Record]:
    """Yield the records of trials that this machine has finished, of the suite in `out` and of those beside it."""
    for file in sorted(out.resolve().parent.glob(f"*/{RESULTS}")):
        for record in read_records(file):
            machines = [each.get("machine", {}).get("cpu") for each in record.get("provenance", ())]
            if record["status"] == "finished" and machines[-1:] == [processor()]:
                yield record


def kind_of(record: Record) -> str:
    """Return what trainings that differ in their seed alone have in common."""
    return repr(sorted((name, repr(value)) for name, value in record["train"].items() if name != "seed"))


def network_of(train: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what decides most of the time that a training's passes take."""
    settings = completed({"method": METHOD, **train})
    return tuple(repr(settings.get(name)) for name in NETWORK)


def trained(record: Record) -> float:
    """Return the seconds of all epochs of a record, with their selection."""
    return float(sum(epoch["seconds"] + epoch.get("select_seconds", 0.0) for epoch in record["epochs"]))


def accuracies(record: Record) -> list[Record]:
    """Return the accuracies of a record."""
    return [each for result in record["results"] for each in result["accuracies"]]


def started(record: Record) -> float:
    """Return the seconds that a trial took beside its training and attacks; less than 0 if it found them made."""
    took = datetime.fromisoformat(record["ended"]) - datetime.fromisoformat(record["started"])
    return took.total_seconds() - trained(record) - float(sum(each["seconds"] for each in accuracies(record)))


def attacks_of(trial: Trial) -> list[str]:
    """Return the attacks of a trial's evaluations, each as often as it is made."""
    return [
        attack.strip()
        for each in trial.evaluations
        for attack in str(each.get("attacks", "clean,pgd")).split(",")
        for _ in range(1 if attack == "clean" else len(str(each.get("eps", "")).split(",")))
    ]


def means(pairs: Iterable[tuple[Any, float]]) -> dict[Any, float]:
    """Return the mean of the numbers that come with each key."""
    every = defaultdict[Any, list[float]](list)
    for key, number in pairs:
        every[key].append(number)
    return {key: mean(numbers) for key, numbers in every.items()}


def mean_of(every: Iterable[Seconds]) -> Seconds:
    """Return the mean of what trials take."""
    training, evaluation, start = zip(*(vars(each).values() for each in every), strict=True)
    return Seconds(mean(training), mean(evaluation), mean(start))


def duration(seconds: float) -> str:
    """Return a time in hours from 90 minutes on, in minutes below."""
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"
