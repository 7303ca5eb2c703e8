"""fastbat suite: tables of trials, estimated, run and looked at; their results are in cli/results.py."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD

from fastbat.cli.commands import check_command, configure_command
from fastbat.cli.listing import print_json
from fastbat.cli.results import claims_command, compare_command, export_results_command
from fastbat.console import print_rows
from fastbat.errors import InputError
from fastbat.files import check_writable, read_toml, write_json
from fastbat.progress import say
from fastbat.suite import (
    ESTIMATE,
    Row,
    check_all,
    check_ray,
    duration,
    flags,
    inputs_of,
    local,
    named,
    on_ray,
    printed_by,
    run_suite,
    status,
    trials_of,
)

if TYPE_CHECKING:
    from fastbat.suite import Cost

LONGEST = 60.0  # seconds that a rough estimate may take; 5 to 10 where nothing else runs


@dataclass(frozen=True)
class Cluster:
    """How trials run on a Ray cluster."""

    address: str | None = None
    """Of a cluster that is there, such as auto or ray://HOST:10001; one of this machine's own unless given."""
    cpus: float = 1
    """CPUs that a trial takes."""
    gpus: float = 0
    """GPUs that a trial takes, or a fraction of one."""


suite = App(name="suite", help="Tables of trials: estimated, run, looked at, and their results as tables.")
suite.command(export_results_command, name="export")
suite.command(compare_command, name="compare")
suite.command(claims_command, name="claims")


@suite.command(name="run")
def run_command(
    what: str,
    /,
    *,
    out: Path,
    scale: str | None = None,
    jobs: int | None = None,
    engine: Literal["local", "ray"] = "local",
    cluster: Annotated[Cluster, Parameter(name="*", group="With --engine ray")] = Cluster(),
    data_dir: Path | None = None,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Run the trials of a table, each in its own process; those that are finished are not run again.

    Parameters
    ----------
    what
        TOML table: [train] and [evaluate] hold settings of those commands, a list is a dimension; [[arm]] is a row.
        Or a suite by name, such as table2 (`fastbat suite list`).
    out
        Folder of the suite: a run directory a trial, results.jsonl, logs. The same command resumes after any stop. The
        suites by name have a folder each in it, and share their trainings.
    scale
        Of a suite by name: paper, gpu, cpu or smoke.
    jobs
        Trials that run at a time: 1 unless given, and they share the threads; of a cluster all that it has room for.
    engine
        local: processes of this machine; ray: tasks of a Ray cluster, whose machines see the same folders.
    data_dir
        Folder with the data set on this machine, for all trials.
    device
        cpu, cuda or auto, for all trials.
    json
        Print one JSON object instead of a table.
    """
    extra = of_machine(data_dir, device)
    table, out = table_of(what, scale), folder_of(what, scale, out)
    trials = trials_of(table, what)
    if scale is not None:
        named.check_free(out, table)
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}; at least one trial runs at a time")
    check_all(trials, out, check_command, extra)
    if engine == "ray":
        check_ray(cluster.cpus, cluster.gpus)
        jobs = jobs or len(trials)
        where = on_ray(out, extra, cluster.address, cluster.cpus, cluster.gpus)
    else:
        if cluster != Cluster():
            raise InputError("address, cpus and gpus are of a cluster; add --engine ray")
        jobs = jobs or 1
        where = local(out, extra, jobs)
    trials = trials_of(table, what, inputs_of(trials, data_dir))
    text = Path(what).read_text("utf-8-sig") if scale is None else tomli_w.dumps(table)
    records = run_suite(trials, text, out, where, jobs, partial(measured, what, scale, extra, jobs, engine))
    show(status(out), json)
    if any(record["status"] == "failed" for record in records):
        sys.exit(1)


@suite.command(name="list")
def list_suites_command(*, json: bool = False) -> None:
    """List the suites by name, with the number of their trainings at each scale.

    Parameters
    ----------
    json
        Print one JSON object instead of a table.
    """
    scales = named.scales()
    found = [
        {
            "suite": name,
            "about": named.title(name),
            **{scale: trainings(name, scale) for scale in scales},
        }
        for name in named.names()
    ]
    if json:
        print_json({"suites": found, "scales": scales})
        return
    rows = [["" if value is None else str(value) for value in each.values()] for each in found]
    print_rows(("suite", "about", *scales), rows, text=("about",), box=SIMPLE_HEAD)
    for scale, says in scales.items():
        print(f"{scale}: {says}")


def trainings(name: str, scale: str) -> int | None:
    """Return the number of trainings of a suite at a scale; None where it has no such scale."""
    return len(trials_of(named.at_scale(name, scale), name)) if scale in named.scales(name) else None


@suite.command(name="show")
def show_command(name: str, /, *, scale: str) -> None:
    """Print a suite at a scale as a TOML table, to be run as it is or changed.

    Parameters
    ----------
    name
        Such as table2 (`fastbat suite list`).
    scale
        paper, gpu, cpu or smoke.
    """
    print(tomli_w.dumps(named.at_scale(name, scale)), end="")


def measured(what: str, scale: str | None, extra: Mapping[str, Any], jobs: int, engine: str) -> list[dict[str, Any]]:
    """Return what a rough estimate of the trials finds on this machine; nothing of those on a cluster."""
    if engine != "local":
        return []
    say("timing an update of each kind of trial")
    given = flags({**({} if scale is None else {"scale": scale}), **extra})
    found = printed_by(["suite", "estimate", what, *given, "--rough", "--json"], jobs, LONGEST)
    return list(loads(found)["trials"]) if found else []


def table_of(what: str, scale: str | None) -> Mapping[str, Any]:
    """Return a table of trials from a TOML file, or that of a suite by name at a scale."""
    if scale is not None:
        return named.at_scale(what, scale)
    if what in named.names():
        raise InputError(f"{what} is a suite by name; choose its --scale: {', '.join(named.scales(what))}")
    return read_toml(Path(what))


@suite.command(name="status")
def status_command(out: Path, /, *, json: bool = False) -> None:
    """Say how far a suite is.

    Parameters
    ----------
    out
        Folder of the suite, or with those of several.
    json
        Print one JSON object instead of a table.
    """
    show(status(out), json)


@suite.command(name="estimate")
def estimate_command(
    what: str,
    /,
    *,
    scale: str | None = None,
    out: Path | None = None,
    data_dir: Path | None = None,
    device: str | None = None,
    rough: bool = False,
    json: bool = False,
) -> None:
    """Estimate what the trials of a table take here: a few steps of each kind, timed; no training is kept.

    Parameters
    ----------
    what
        TOML table of trials, or a suite by name.
    scale
        Of a suite by name: paper, gpu, cpu or smoke.
    out
        Folder for the suite: keep the estimate in it, for the time left and for the costs in a report.
    data_dir
        Folder with the data set on this machine.
    device
        cpu, cuda or auto.
    rough
        Take seconds: time one update of each kind, on a few images. It is not kept.
    json
        Print one JSON object instead of a table.
    """
    if rough and out is not None:
        raise InputError("a rough estimate is not kept; leave out --out or --rough")
    extra = of_machine(data_dir, device)
    trials = trials_of(table_of(what, scale), what)
    check_all(trials, Path(), check_command, extra)
    if out is not None:
        check_writable(out)
    from fastbat.suite import estimate
    from fastbat.suite.rough import rough as roughly

    measure, folder = roughly if rough else estimate, flags(extra)
    costs = measure(
        trials, lambda given: configure_command(["train", *given, *([] if "--dataset=digits" in given else folder)])
    )
    hours = sum(cost.hours for cost in costs)
    found = {"trials": [asdict(cost) | {"hours": cost.hours} for cost in costs], "hours": hours}
    if out is not None:
        write_json(folder_of(what, scale, out) / ESTIMATE, found)
    if json:
        print_json(found)
    else:
        print_costs(costs, f"{duration(3600 * hours)} at most: what is broken leaves")


def of_machine(data_dir: Path | None, device: str | None) -> dict[str, Any]:
    """Return the settings of this machine that all trials take."""
    given = {"data_dir": data_dir and data_dir.resolve(), "device": device}
    return {name: value for name, value in given.items() if value is not None}


def folder_of(what: str, scale: str | None, out: Path) -> Path:
    """Return the folder of a suite: `out`, or of a suite by name the one of its name in it."""
    return out if scale is None else out / what


def print_costs(costs: list["Cost"], caption: str) -> None:
    """Print the table of an estimate."""
    rows = [
        (
            cost.trial,
            str(cost.steps),
            f"{1000 * cost.seconds_per_step:.0f}",
            f"{cost.training_hours:.2f}",
            f"{cost.evaluation / 3600:.2f}",
        )
        for cost in costs
    ]
    heads = ("trial", "steps", "ms a step", "training, h", "evaluation, h")
    print_rows(heads, rows, text=("trial",), least=("steps", "ms a step"), caption=caption)


def show(found: list[Row], json: bool) -> None:
    """Print the rows of a suite."""
    if json:
        print_json({"trials": [asdict(row) for row in found]})
        return
    heads = ["trial", "state", "weights", "eps", "SA", "PGD", "AA", "n", "s/epoch", "stand-in"]
    if not any(row.stand_in for row in found):
        heads.remove("stand-in")
    rows = [cells(row)[: len(heads)] for row in found]
    print_rows(heads, rows, text=("trial", "stand-in"), least=("s/epoch", "n", "weights"), box=SIMPLE_HEAD)
    for row in found:
        if row.error:
            print(f"{row.trial} failed: {row.error}")


def cells(row: Row) -> list[str]:
    """Return a row of a suite as texts."""
    shares = ["" if share is None else f"{share:.1f}" for share in (row.sa, row.ra_pgd, row.ra_aa)]
    seconds = "" if row.seconds_per_epoch is None else f"{row.seconds_per_epoch:.1f}"
    eps = f"{row.eps_255:g}" if row.eps_255 else ""
    return [row.trial, row.state, row.checkpoint, eps, *shares, str(row.n or ""), seconds, row.stand_in]
