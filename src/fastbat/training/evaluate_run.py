"""Evaluating what a run left behind: its weights, on the test images of its data set, with its record beside it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastbat.data import load
from fastbat.errors import InputError
from fastbat.evaluation import Evaluation, evaluate
from fastbat.files import append_record
from fastbat.models import load_model
from fastbat.training.machine import pick_device
from fastbat.training.run import Run, weights_of


def evaluate_run(
    target: Path | str,
    checkpoint: str = "best",
    *,
    eps: float | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    **how: Any,
) -> Evaluation:
    """Evaluate a run directory (its `checkpoint`: best or last) or a .safetensors file of one.

    `eps` (on the [0, 1] scale) and `data_dir` are those of the training unless given; `how` are the other keyword
    arguments of `fastbat.evaluate`. In a run directory the record is added to evaluation.jsonl. Raises InputError as
    `evaluate` does, and where target, weights or data are not to be had.
    """
    file = weights_of(target, checkpoint)
    model, about = load_model(file)
    try:
        config, dataset, epoch = about["config"], about["dataset"], about["epoch"]
    except KeyError as error:
        raise InputError(f"{str(file)!r} does not say its {error.args[0]}; use fastbat.evaluate from Python") from error
    if eps is None:
        if not config["eps"]:
            raise InputError(f"{str(file)!r} was trained against no budget; say which one to attack it with: --eps 8")
        eps = config["eps"] / 255
    run = Run(file.parent)
    if data_dir is None and run.config.exists() and "data_dir" in (trained_with := run.read_config()):
        data_dir = Path(trained_with["data_dir"])
    table = {name: config.get(name) for name in ("image_column", "label_column", "image_size")}
    test = load(dataset["name"], data_dir, **table, workers=config.get("workers", 0)).test
    if list(test.classes) != list(dataset["classes"]):
        raise InputError(f"{str(file)!r} was trained on other classes than those of {dataset['name']} in {data_dir}")
    if run.config.exists():
        run.evaluations.touch()  # a folder that cannot be written shows before the attacks, not after
    result = evaluate(model.to(pick_device(device)), test, eps=eps, **how)
    source = {
        "checkpoint": file.name,
        "epoch": epoch,
        "dataset": dataset["name"],
        "fingerprint": test.fingerprint,
    }
    result = replace(result, settings={**result.settings, **source})
    when = datetime.now(UTC).isoformat(timespec="seconds")
    if run.config.exists():
        append_record(run.evaluations, {"time": when, **result.record()})
    return result
