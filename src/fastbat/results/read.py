"""From folders to trials: suites, run directories, audits and closer looks, each found by the files in it.

    results.jsonl                   a suite: a trial each, and a run directory each where they are still there
    config.toml with metrics.jsonl  a run directory: one trial
    evaluation.jsonl                audits of other models: a trial each
    diagnosis.json                  a closer look (`fastbat diagnose`), in a run directory or below it, or alone
    estimate.json                   what `fastbat suite estimate` found, for the cost of a step

A folder with none of these stands for the folders in it.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastbat.errors import InputError
from fastbat.files import read_json, read_records, read_toml
from fastbat.lazy import np
from fastbat.results.records import Measured, Record, Trial, checkpoint_of, latest, measured
from fastbat.suite.remaining import ESTIMATE
from fastbat.suite.trials import NAME, read_trials
from fastbat.training import Run
from fastbat.training.settings import effective

DIAGNOSIS = "diagnosis.json"


@dataclass(frozen=True)
class Source:
    """A folder that numbers come from."""

    name: str
    kind: str  # suite, run, audit, look
    title: str = ""
    files: tuple[tuple[str, str], ...] = ()  # name, SHA-256
    failed: tuple[tuple[str, str], ...] = ()  # trial, error
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """A closer look at one model (`fastbat diagnose`); an array that was not kept is None."""

    about: Record  # diagnosis.json
    source: int
    trial: Trial | None  # whose model it is
    steps: Any = None  # (points,), on the [0, 1] scale
    losses: Any = None  # (points, points)
    smallest: Any = None  # (images,), on the [0, 1] scale
    flatness: Record = field(default_factory=dict)  # loss_range, loss_bend: (images,)
    easiest: Record = field(default_factory=dict)  # x, x_adv, label, says, sure, ... of what broke most easily

    @property
    def settings(self) -> Record:
        """What was looked at, by which command, on which machine."""
        found: Record = self.about.get("settings", {})
        return found

    @property
    def checkpoint(self) -> str:
        """Which weights of a run were looked at: best, last, ...; empty if they are no run's."""
        return checkpoint_of(str(self.settings.get("target", "")), self.settings)

    @property
    def classes(self) -> list[str]:
        """The names of the classes; none in an old record."""
        return [str(name) for name in self.settings.get("classes", ())]


@dataclass
class Found:
    """All that is read."""

    trials: list[Trial] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)


def read(folders: Sequence[Path]) -> Found:
    """Return what lies in `folders`; InputError where one holds no records, or files that fastbat did not write."""
    found, where = Found(), list[Path]()
    for folder in {each.resolve(): each for each in folders}.values():
        if not folder.is_dir():
            raise InputError(f"no folder {str(folder)!r}; name that of a suite, a run or an audit")
        places = [folder] if kind_of(folder) else [each for each in sorted(folder.iterdir()) if kind_of(each)]
        if not places:
            names = "results.jsonl, metrics.jsonl, evaluation.jsonl or diagnosis.json"
            raise InputError(f"no records in {str(folder)!r}; name a folder with {names}")
        for place in places:
            try:
                READERS[kind_of(place)](place, found)
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                kind = type(error).__name__
                raise InputError(f"{str(place)!r} holds records of another form ({kind}: {error})") from error
            where.append(place)
    often = Counter(source.name for source in found.sources)
    found.sources = [
        replace(source, name=f"{named(place.resolve().parent)}/{source.name}") if often[source.name] > 1 else source
        for source, place in zip(found.sources, where, strict=True)
    ]
    return found


def kind_of(folder: Path) -> str:
    """Return what lies in `folder`: suite, run, audit, look; empty where nothing of these does."""
    run = Run(folder)
    if (folder / "results.jsonl").is_file():
        return "suite"
    if run.config.is_file() and (run.metrics.is_file() or run.evaluations.is_file()):
        return "run"
    if run.evaluations.is_file():
        return "audit"
    return "look" if (folder / DIAGNOSIS).is_file() else ""


def read_suite(folder: Path, found: Found) -> None:
    """Add the finished trials of a suite."""
    records = read_records(folder / "results.jsonl")
    last = {record["trial"]: record for record in records}
    finished = {record["trial"]: record for record in records if record["status"] == "finished"}
    failed = tuple((name, record["error"]) for name, record in last.items() if record["status"] == "failed")
    table = folder / "suite.toml"
    asked = [trial.name for trial in read_trials(table)] if table.is_file() else []
    parts = read_toml(table) if table.is_file() else {}
    costs = {
        each["trial"]: each["steps"] * each["seconds_per_step"]
        for each in read_json(folder / ESTIMATE).get("trials", [])
    }
    source = Source(
        named(folder),
        "suite",
        str(parts.get("title", "")),
        sums(folder, ("suite.toml", "results.jsonl", ESTIMATE)),
        failed,
        tuple(name for name in asked if name not in last),
    )
    found.sources.append(source)
    for record in finished.values():
        run = run_of(record, folder, str(parts.get("store", "")))
        trial = Trial(
            record["trial"],
            record["train"],
            tuple(latest([measured(each) for each in record["results"]])),
            tuple(record["epochs"]),
            len(found.sources) - 1,
            run.path if run else None,
            tuple(record.get("provenance", ())),
            record.get("resolved") or (effective(run.read_config()) if run and run.config.is_file() else {}),
            tuple(record.get("stands_for", ())),
            costs.get(record["trial"]),
        )
        add(found, trial)


def run_of(record: Record, folder: Path, store: str) -> Run | None:
    """Return the run directory of a trial, in the suite's `folder` or the `store` of its table, where it still is.

    What a record names elsewhere is not read: a suite may come from others.
    """
    home, _, name = str(record.get("run", record["trial"])).rpartition("/")
    place = folder / home / name
    return Run(place) if home in ("", store) and NAME.fullmatch(name) and place.is_dir() else None


def read_run(folder: Path, found: Found) -> None:
    """Add the training that a run directory holds."""
    run = Run(folder)
    kept = (run.config.name, run.metrics.name, run.evaluations.name)
    found.sources.append(Source(named(folder), "run", files=sums(folder, kept)))
    config = run.read_config()
    evaluations = latest([measured(each) for each in read_records(run.evaluations)])
    epochs = tuple(read_records(run.metrics))
    place = len(found.sources) - 1
    started = tuple(read_records(run.provenance))
    given = {name: value for name, value in config.items() if name != "resolved"}
    add(found, Trial(named(folder), given, tuple(evaluations), epochs, place, folder, started, effective(config)))


def read_audit(folder: Path, found: Found) -> None:
    """Add the models of others whose evaluations a folder holds."""
    found.sources.append(Source(named(folder), "audit", files=sums(folder, ("evaluation.jsonl",))))
    by_model: dict[str, list[Measured]] = {}
    for each in latest([measured(record) for record in read_records(folder / "evaluation.jsonl")]):
        by_model.setdefault(str(each.settings.get("weights")), []).append(each)
    for evaluations in by_model.values():
        about = evaluations[-1].settings
        trained = {name: about[name] for name in ("dataset", "method") if about.get(name)}
        add(found, Trial(str(about["target"]), trained, tuple(evaluations), (), len(found.sources) - 1, folder))


def read_look(folder: Path, found: Found) -> None:
    """Add a closer look that belongs to no training here."""
    found.sources.append(Source(named(folder), "look", files=sums(folder, (DIAGNOSIS,))))
    found.looks.append(look(folder, len(found.sources) - 1, None))


READERS: dict[str, Callable[[Path, Found], None]] = {
    "suite": read_suite,
    "run": read_run,
    "audit": read_audit,
    "look": read_look,
}


def add(found: Found, trial: Trial) -> None:
    """Add a trial and the closer looks in its folder and right below it."""
    found.trials.append(trial)
    for folder in looks_in(trial.folder):
        found.looks.append(look(folder, trial.source, trial))


def looks_in(folder: Path | None) -> Iterator[Path]:
    """Yield the folders with a closer look: `folder` and those in it that are nothing else."""
    if folder is None:
        return
    if (folder / DIAGNOSIS).is_file():
        yield folder
    yield from (each for each in sorted(folder.iterdir()) if each.is_dir() and kind_of(each) == "look")


def look(folder: Path, source: int, trial: Trial | None) -> Look:
    """Return the closer look in `folder`."""
    surface, smallest = arrays(folder / "landscape.npz"), arrays(folder / "smallest-eps.npz")
    flat, easiest = arrays(folder / "flatness.npz"), arrays(folder / "easiest.npz")
    about = read_json(folder / DIAGNOSIS)
    return Look(
        about, source, trial, surface.get("steps"), surface.get("losses"), smallest.get("smallest_eps"), flat, easiest
    )


def arrays(file: Path) -> dict[str, Any]:
    """Return the arrays of a .npz file, nothing where there is none; InputError where it is no such file."""
    if not file.is_file():
        return {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise InputError(f"{str(file)!r} is not a whole .npz file; run `fastbat diagnose` again") from error


def named(folder: Path) -> str:
    """Return the folder's own name, of `.` too."""
    return folder.resolve().name


def sums(folder: Path, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the names of the files that are there with the SHA-256 of each."""
    there = [folder / name for name in names if (folder / name).is_file()]
    return tuple((f"{named(folder)}/{file.name}", hashlib.sha256(file.read_bytes()).hexdigest()) for file in there)
