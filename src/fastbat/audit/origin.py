"""What the user says of a model: which it is, and what it does not say itself, network, data and normalisation."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastbat.errors import InputError
from fastbat.files import as_path
from fastbat.models.content import kind_of
from fastbat.training import Run

Form = Literal["run", "safetensors", "torch", "onnx", "timm", "code"]
FORMS = "a run directory, a file of weights, an .onnx file, timm/NAME or module:function"
WEIGHTS = ("safetensors", "torch")


@dataclass(frozen=True)
class Origin:
    """What a model that was not trained here does not say of itself."""

    dataset: str | None = None
    """Data set to measure on (`fastbat list datasets`, or OWNER/NAME); a run says its own."""
    image_column: str | None = None
    """Column of a table that holds the images; the first with images unless given."""
    label_column: str | None = None
    """Column of a table that holds the labels; label, labels or fine_label unless given."""
    image_size: int | None = None
    """Resize the shorter side to N pixels and cut out the middle."""
    channels: Literal[1, 3] | None = None
    """Channels of the images it takes: 3, RGB, unless given; or 1, grey."""
    model: str | None = None
    """Network that a plain file of weights belongs to (`fastbat list models`)."""
    width: int | None = None
    """Channels of its first layer."""
    activation: str | None = None
    """relu (unless given), softplus (beta 10) or swish."""
    stem: int | None = None
    """Kernel of its first convolution: 3, 7 or 15."""
    shortcut: Literal["raw", "preact"] | None = None
    """Where a block of its PreActResNet-18 or -34 changes the shape: raw (unless given), or He's, preact."""
    mean: str | None = None
    """Mean to subtract in front of the model, per channel: 0.491,0.482,0.447; none where it is inside."""
    std: str | None = None
    """Standard deviation to divide by then."""


def name_of(target: Any, what: str = "the target") -> str:
    """Return a target as it is written on the command line; InputError where `what` is none, such as a network."""
    return str(target.path if isinstance(target, Run) else as_path(what, target))


def form_of(target: str) -> Form:
    """Return what `target` names; a file is looked into. InputError where it is none of FORMS, or a program."""
    path = Path(target)
    if path.is_dir():
        return "run"
    if path.is_file():
        if (kind := kind_of(path)) == "program":
            raise InputError(
                f"{target!r} is a torch.export or TorchScript program, and opening one may run code; name its weights "
                "and their --model, or a function of yours that returns the network: module:function"
            )
        return kind
    if target.startswith("timm/"):
        return "timm"
    if re.fullmatch(r"[^\W\d][\w.]*:[^\W\d]\w*", target):
        return "code"
    raise InputError(f"no model {target!r}; name {FORMS}")


def run_of(target: Path) -> Run | None:
    """Return the run directory that `target` is or lies in, if it is one."""
    run = Run(target if target.is_dir() else target.parent)
    return run if run.config.exists() else None


def numbers(what: str, text: str, example: str) -> list[float]:
    """Return the finite numbers of a comma-separated list such as `example`; InputError where it is none."""
    try:
        found = [float(word) for word in text.split(",")]
        if not all(abs(number) < float("inf") for number in found):
            raise ValueError(text)
        return found
    except ValueError:
        raise InputError(
            f"{what} is {text!r}; it must be numbers with commas between them, such as {example}"
        ) from None
