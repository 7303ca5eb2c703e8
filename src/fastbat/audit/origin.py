"""What the user says of a model: where it lies, and what it does not say of itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastbat.errors import InputError


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
    """Resize the shorter side to so many pixels and cut out the middle."""
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


FORMS = "a run directory, a .safetensors, .pt, .pth, .pt2 or .onnx file, timm/NAME or module:function"
WEIGHTS, PROGRAMS = (".safetensors", ".pt", ".pth"), (".pt2", ".onnx")


def check_form(target: str) -> None:
    """Raise InputError unless `target` is a folder or a file that is there, or the name of a network."""
    path = Path(target)
    if target.startswith("timm/") or path.is_dir() or (path.is_file() and path.suffix in WEIGHTS + PROGRAMS):
        return
    if path.suffix in WEIGHTS + PROGRAMS or ":" not in target:
        raise InputError(f"no model {target!r}; name {FORMS}")


def numbers(what: str, text: str) -> list[float]:
    """Return the finite numbers of a comma-separated list; InputError where it is none."""
    try:
        found = [float(word) for word in text.split(",")]
        if not all(abs(number) < float("inf") for number in found):
            raise ValueError(text)
        return found
    except ValueError:
        raise InputError(f"{what} is {text!r}; it must be numbers with commas between them, such as 0.5,0.5") from None
