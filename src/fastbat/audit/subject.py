"""What is audited: a model on disk, and the test images that it is measured on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fastbat.audit.origin import WEIGHTS, Origin, check_form
from fastbat.audit.target import described, undescribed
from fastbat.data import ImageSet, check_not_blank, load_test
from fastbat.errors import InputError
from fastbat.training import Run


@dataclass(frozen=True)
class Subject:
    """A model on disk, and the images that it is measured on."""

    model: nn.Module
    test: ImageSet
    target: str
    file: str
    origin: Origin
    about: Mapping[str, Any]  # of a model trained here
    run: Run | None  # the run directory that it lies in

    def trained_eps(self) -> float:
        """Return the budget it was trained against, on the [0, 1] scale; InputError where there is none."""
        if not self.about.get("config", {}).get("eps"):
            raise InputError(f"{self.target!r} was trained against no budget; say which one to attack it with: --eps 8")
        return float(self.about["config"]["eps"]) / 255

    def source(self) -> dict[str, Any]:
        """Return what a record says of it."""
        dataset = self.origin.dataset or self.about["dataset"]["name"]
        named = {"target": self.file, "dataset": dataset, "fingerprint": self.test.fingerprint}
        if (file := Path(self.target)).is_file():
            named["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        trained_by = self.about.get("config", {}).get("method")
        remedy = {"remedy_steps": self.about["remedy_steps"]} if "remedy_steps" in self.about else {}
        return {**named, "epoch": self.about.get("epoch"), "method": trained_by, **remedy}


def opened(
    target: str, origin: Origin, checkpoint: str, data_dir: Path | None, test: ImageSet | None = None
) -> Subject:
    """Return the model that `target` names and the test images of its data set, or those given.

    Raises InputError where either is not to be had, or the model was trained on other classes.
    """
    check_form(target)
    path = Path(target)
    found = described(path, origin, checkpoint)
    file, about, run = (found[0], found[2], run_of(path)) if found else (path, {}, None)
    if test is None:
        refuse_idle(target, origin, about)
        test = test_images(target, about, origin, data_dir, run)
    model = found[1] if found else undescribed(target, origin, len(test.classes), test.channels)
    return Subject(model, test, target, file.name if file.exists() else target, origin, about, run)


def refuse_idle(target: str, origin: Origin, about: Mapping[str, Any]) -> None:
    """Raise InputError where `origin` says of a model what it says itself, which would be obeyed in nothing."""
    own = ("model", "width", "activation", "stem", "shortcut") if Path(target).suffix not in WEIGHTS or about else ()
    for name in (*own, *(("mean", "std") if about or target.startswith("timm/") else ())):
        same = name == "model" and about and origin.model == about["model"]["name"]
        if (value := getattr(origin, name)) is not None and not same:
            raise InputError(f"{name} is {value}, but {target!r} brings its own; leave it out")


def run_of(target: Path) -> Run | None:
    """Return the run directory that `target` is or lies in, if it is one."""
    run = Run(target if target.is_dir() else target.parent)
    return run if run.config.exists() else None


def test_images(
    target: str, about: Mapping[str, Any], origin: Origin, data_dir: Path | None, run: Run | None
) -> ImageSet:
    """Return the test images of the data set that `origin` or else the model itself names."""
    own, config = about.get("dataset", {}), about.get("config", {})
    name = origin.dataset or own.get("name")
    if name is None:
        raise InputError(f"{target!r} does not say what images it is for; name them: --dataset cifar10 --data-dir DIR")
    if origin.dataset is not None:
        config = {}
    elif data_dir is None and run is not None and "data_dir" in (settings := run.read_config()):
        data_dir = Path(settings["data_dir"])
    table = {key: getattr(origin, key) or config.get(key) for key in ("image_column", "label_column", "image_size")}
    table["channels"] = origin.channels or (len(about["model"]["mean"]) if about else None)
    held = own.get("validation") if name == own.get("name") else None  # what chose the weights is no test
    test = load_test(name, data_dir, **table, validation=held, workers=config.get("workers", 0))
    check_not_blank(test, f"test images of {name}")
    if own and list(test.classes) != list(own["classes"])[: len(test.classes)]:
        raise InputError(f"{target!r} was trained on other classes than those of {name} in {data_dir}")
    return test
