"""What is audited: a model on disk, and the test images that it is measured on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fastbat.audit.check import Named, check_target, find_target
from fastbat.audit.origin import Origin, run_of
from fastbat.audit.target import undescribed
from fastbat.data import ImageSet, check_not_blank, load_test
from fastbat.errors import InputError
from fastbat.files import as_path
from fastbat.models import load_model
from fastbat.training import Run


@dataclass(frozen=True)
class Subject:
    """A model on disk, and the images that it is measured on."""

    model: nn.Module
    test: ImageSet
    target: str
    file: Path  # the one that holds it, or what it is called
    origin: Origin
    about: Mapping[str, Any]  # of a model trained here
    run: Run | None  # the run directory that it lies in
    read: Mapping[str, Any]  # how a file of others was read, and what it says of itself

    @property
    def dataset(self) -> str:
        """Return the name of the data set that it is measured on."""
        name: str = self.origin.dataset or self.about["dataset"]["name"]
        return name

    def trained_eps(self) -> float:
        """Return the budget it was trained against, on the [0, 1] scale; InputError where there is none."""
        if not self.about:
            raise InputError(
                f"nothing is known of the training of {self.target!r}; say what budget to attack it with: --eps 8"
            )
        if not self.about.get("config", {}).get("eps"):
            raise InputError(f"{self.target!r} was trained against no budget; say which one to attack it with: --eps 8")
        return float(self.about["config"]["eps"]) / 255

    def source(self) -> dict[str, Any]:
        """Return what a record says of it."""
        there = self.file.is_file()
        named: dict[str, Any] = {"target": self.file.name if there else self.target, "dataset": self.dataset}
        named |= {"test_images": len(self.test), "fingerprint": self.test.fingerprint}
        if there:
            with self.file.open("rb") as file:
                named["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        trained_by = self.about.get("config", {}).get("method")
        remedy = {"remedy_steps": self.about["remedy_steps"]} if "remedy_steps" in self.about else {}
        return {**named, "epoch": self.about.get("epoch"), "method": trained_by, **remedy, **self.read}


def opened(
    target: str, origin: Origin, checkpoint: str, data_dir: Path | str | None, test: ImageSet | None = None
) -> Subject:
    """Return the model that `target` names and the test images of its data set, or those given.

    Raises InputError where either is missing, or the model was trained on other classes.
    """
    if not isinstance(origin, Origin):
        raise InputError(f"origin is of type {type(origin).__name__}; give fastbat.Origin(dataset=..., model=...)")
    data_dir = None if data_dir is None else as_path("data_dir", data_dir)
    named = (
        check_target(target, checkpoint, origin, data_dir) if test is None else find_target(target, checkpoint, origin)
    )
    ours = load_model(named.file) if named.about or named.form == "run" else None
    test = test_images(named, origin, data_dir) if test is None else test
    if ours is not None:
        model, about = ours
        return Subject(model, test, target, named.file, origin, about, run_of(Path(target)), {})
    model, read = undescribed(target, named.form, origin, len(test.classes), test.channels)
    return Subject(model, test, target, named.file, origin, {}, None, read)


def test_images(named: Named, origin: Origin, data_dir: Path | None) -> ImageSet:
    """Return the test images of the data set that `origin` or else the model itself names."""
    own, config = named.about.get("dataset", {}), named.about.get("config", {})
    run = run_of(Path(named.target)) if named.about else None
    name = origin.dataset or own["name"]
    if origin.dataset is not None:
        config = {}
    elif data_dir is None and run is not None and "data_dir" in (settings := run.read_config()):
        data_dir = Path(settings["data_dir"])
    table = {key: getattr(origin, key) or config.get(key) for key in ("image_column", "label_column", "image_size")}
    table["channels"] = origin.channels or (len(named.about["model"]["mean"]) if named.about else None)
    held = own.get("validation") if name == own.get("name") else None  # what chose the weights is no test
    test = load_test(name, data_dir, **table, validation=held, workers=config.get("workers", 0))
    check_not_blank(test, f"test images of {name}")
    if own and list(test.classes) != list(own["classes"])[: len(test.classes)]:
        raise InputError(f"{named.target!r} was trained on other classes than those of {name} in {data_dir}")
    return test
