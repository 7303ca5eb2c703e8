"""Where trials run: in processes of this machine, or as tasks of a Ray cluster. Each engine yields what runs one trial.

What it yields blocks until the trial is finished or failed, so that any number of threads may call it at a time. After
an error, as after Ctrl-C, an engine ends the trials that it has begun; they resume from where they were.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastbat.errors import InputError
from fastbat.provenance import now
from fastbat.suite.execute import Record, description, run_trial
from fastbat.suite.processes import Children
from fastbat.suite.trials import Trial

Execute = Callable[[Trial], Record]


@contextmanager
def local(out: Path, extra: Mapping[str, Any], jobs: int) -> Iterator[Execute]:
    """Run trials in processes of this machine, `jobs` at a time; they share its threads."""
    children = Children(jobs)
    try:
        yield lambda trial: run_trial(trial, out, extra, children)
    except BaseException:  # Ctrl-C, as a rule
        children.end()
        raise


def check_ray(cpus: float, gpus: float) -> None:
    """Raise InputError where Ray is not installed, or a trial would take nothing of a cluster."""
    if find_spec("ray") is None:
        raise InputError("--engine ray needs Ray: pip install 'fastbat[cluster]'")
    for name, number in (("cpus", cpus), ("gpus", gpus)):
        if not 0 <= number < float("inf"):
            raise InputError(f"{name} is {number}; a trial takes that many of a cluster, at least 0")


@contextmanager
def on_ray(out: Path, extra: Mapping[str, Any], address: str | None, cpus: float, gpus: float) -> Iterator[Execute]:
    """Run trials as tasks of a Ray cluster, each with so many CPUs and GPUs of it; all machines see the folder `out`.

    Without an `address` (or RAY_ADDRESS) Ray is started on this machine, and stopped at the end; a cluster that was
    there before goes on.
    """
    check_ray(cpus, gpus)
    import ray

    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False if address is None else None)
    except (ConnectionError, ValueError) as error:
        raise InputError(f"no Ray cluster at {address or 'RAY_ADDRESS'}: {' '.join(str(error).split())}") from error
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(run_there)
    begun = []

    def execute(trial: Trial) -> Record:
        reference = task.remote(trial, out.resolve(), dict(extra), os.getcwd())
        begun.append(reference)
        try:
            found: Record = ray.get(reference)
        except ray.exceptions.RayError as error:
            said = str(error).strip().splitlines()[0]
            return {**description(trial), "run": trial.run, "status": "failed", "error": said, "ended": now()}
        return found

    try:
        yield execute
    except BaseException:
        for each in begun:
            ray.cancel(each, force=True)  # its worker ends, and with it the processes of its trial
        raise
    finally:
        ray.shutdown()  # of a cluster that was there before: this program leaves it, no more


def run_there(trial: Trial, out: Path, extra: Mapping[str, Any], folder: str) -> Record:
    """Run a trial in a worker of Ray, from the folder that the suite was started in if it is there."""
    if Path(folder).is_dir():
        os.chdir(folder)
    return run_trial(trial, out, extra, Children())
