"""What is known of a target before its weights, its network or an image is opened."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbat.audit.normalisation import given_scale
from fastbat.audit.origin import WEIGHTS, Form, Origin, form_of
from fastbat.data import check_source
from fastbat.errors import Damaged, InputError
from fastbat.files import check_file, read_metadata
from fastbat.models import find_model
from fastbat.training import Run


@dataclass(frozen=True)
class Named:
    """A target, and what it says of itself."""

    target: str
    form: Form
    file: Path  # the one that holds it, or what it is called
    about: Mapping[str, Any]  # model, dataset, config, epoch of one that was trained here; empty of others


def find_target(target: str, checkpoint: str, origin: Origin) -> Named:
    """Return what `target` names; InputError where it is not there, or names code that `origin` does not."""
    form = form_of(target)
    file = Run(target).weights(checkpoint) if form == "run" else Path(target)
    if form == "run":
        check_file(file)
    about = stated(file) if form in ("run", "safetensors") else {}
    if form == "run" and not about:
        raise Damaged(
            f"{str(file)!r} does not say what it is, as weights of a run do: it was altered or damaged; copy it again"
        )
    if form == "run" and (names := Run(target).unlike(about.get("config", {}))):
        raise Damaged(f"{str(file)!r} is of another training than its folder, with another {names[0]}; copy it again")
    code = about.get("model", {}).get("name", "")
    if form == "safetensors" and ":" in code and code != origin.model:
        raise InputError(f"{target!r} would run {code}; where that is code you trust, say so: --model {code}")
    if form in WEIGHTS and not about and origin.model is None:
        raise InputError(f"{target!r} holds weights alone; say what network they are of: --model preactresnet18")
    return Named(target, form, file, about)


def stated(file: Path) -> dict[str, Any]:
    """Return what a file of ours states of its model, nothing of another; InputError where that is garbled."""
    text = read_metadata(file).get("fastbat", "{}")
    try:
        about = json.loads(text)
    except ValueError as error:
        raise InputError(f"{str(file)!r} was altered or damaged ({error}); copy it again") from error
    model = about.get("model") if isinstance(about, dict) else None
    if about and not (isinstance(model, dict) and {"name", "mean"} <= model.keys()):
        raise InputError(f"{str(file)!r} describes no model of fastbat: it was altered or damaged; copy it again")
    return about  # type: ignore[no-any-return]


def check_target(target: str, checkpoint: str, origin: Origin, data_dir: Path | None) -> Named:
    """Return what `target` names; InputError where it is not there, or what `origin` says of it cannot be."""
    named = find_target(target, checkpoint, origin)
    refuse_idle(named, origin)
    given_scale(origin)
    if origin.dataset is not None:
        columns = {name: getattr(origin, name) for name in ("image_column", "label_column", "image_size", "channels")}
        check_source(origin.dataset, data_dir, **columns)
    elif "dataset" not in named.about:
        raise InputError(f"{target!r} does not say what images it is for; name them: --dataset cifar10 --data-dir DIR")
    if origin.model is not None:
        find_model(origin.model)
    return named


def refuse_idle(named: Named, origin: Origin) -> None:
    """Raise InputError where `origin` says of a model what it says itself, which would be obeyed in nothing."""
    own = ("model", "width", "activation", "stem", "shortcut") if named.form not in WEIGHTS or named.about else ()
    for name in (*own, *(("mean", "std") if named.about or named.form == "timm" else ())):
        same = name == "model" and named.about and origin.model == named.about["model"]["name"]
        if (value := getattr(origin, name)) is not None and not same:
            raise InputError(f"{name} is {value}, but {named.target!r} brings its own; leave it out")
