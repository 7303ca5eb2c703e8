"""The update that a training failed in, made again in float32 with anomaly detection: bf16's fault, or whose?"""

import math
import warnings
from pathlib import Path

import torch

from fastbat.errors import InputError
from fastbat.files import read_json
from fastbat.methods import Method
from fastbat.models.finite import looked_at
from fastbat.runtime.precision import ieee_float32, in_precision
from fastbat.training.epoch import find_gradients, remaining
from fastbat.training.faults import bad_number
from fastbat.training.prepare import prepare
from fastbat.training.run import Run
from fastbat.training.settings import Settings, describe, effective
from fastbat.training.state import State, load_state, restore_state
from fastbat.training.task import Task


@ieee_float32()
def replay(method: Method, settings: Settings, run: Run | Path | str) -> str:
    """Make the update again that the training in `run` failed in, in float32; nothing is written.

    Args:
        method: of the training.
        settings: of the training.
        run: its run directory.

    Returns:
        In words what was not finite then, and what is now: the loss, which gradient, the output of which layer.

    Raises:
        InputError: If no training failed there, or with other settings.
    """
    run = run if isinstance(run, Run) else Run(run)
    run.check(describe(method, settings), resume=True)
    if not run.fault.exists():
        raise InputError(f"nothing to replay: {str(run.fault)!r} does not exist; no update failed in this run")
    precision = effective(run.read_config()).get("precision", "auto")
    task, state, _ = prepare(method, settings, precision=precision)
    restore_state(load_state(run.fault), task, state)
    then, now = read_json(run.about_fault).get("what", "a number not finite"), made_again(task, state)
    done = f"epoch {state.epoch + 1}, update {state.partial.updates + 1}, in {task.settings.precision}: {then}"
    if now is None:
        bf16 = "; train with --precision float32" if task.settings.precision == "bf16" else ""
        return f"{done}\nin float32: loss and gradients are finite{bf16}"
    return f"{done}\nin float32: {now}"


def made_again(task: Task, state: State) -> str | None:
    """Return in words what is not finite in the next update in float32, None if everything is."""
    state.net = in_precision(state.model, "float32")
    batch, step = next(remaining(task, state))
    with warnings.catch_warnings(), looked_at(state.model) as first:
        warnings.simplefilter("ignore")  # anomaly detection says that it is on, and where a forward pass was
        try:
            with torch.autograd.detect_anomaly():
                loss = find_gradients(task, state, batch, step).get("loss", torch.tensor(math.nan))
            what = bad_number(loss, state.model)
        except RuntimeError as error:
            what = " ".join(str(error).split())
    return what and "; ".join([what, *(f"first in {where}" for where in first)])
