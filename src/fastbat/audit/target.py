"""Any model, by what the user calls it, as a network from images in [0, 1] to logits.

    a run directory, or a .safetensors file of one      says itself what it is, and what it was trained on (a file
                                                        that names code runs it only with --model module:function)
    FILE.safetensors, FILE.pt, FILE.pth                 a state_dict of --model NAME
    FILE.pt2                                            a torch.export program
    FILE.onnx                                           an ONNX model, as a black box
    timm/NAME                                           with timm's own weights and normalisation
    module:function                                     runs that code

Nothing is unpickled; a file that would run code is refused.
"""

import json
from pathlib import Path
from typing import Any

from torch import nn

from fastbat.audit.origin import WEIGHTS, Origin, numbers
from fastbat.audit.program import open_program
from fastbat.errors import InputError
from fastbat.files import read_safetensors
from fastbat.models import SHAPE, Normalize, build_model, find_model, load_model, load_weights, pretrained
from fastbat.training import Run


def described(target: Path, origin: Origin, checkpoint: str) -> tuple[Path, nn.Module, dict[str, Any]] | None:
    """Return file, model and metadata (config, dataset, epoch) of a run directory or a file of one; None of others.

    Raises InputError for a file that names code to run, unless `origin` names the same. A run directory is one's own.
    """
    if target.is_dir():
        target = Run(target).weights(checkpoint)
    elif target.suffix != ".safetensors" or "fastbat" not in (meta := read_safetensors(target)[1]):
        return None
    elif ":" in (name := json.loads(meta["fastbat"]).get("model", {}).get("name", "")) and name != origin.model:
        raise InputError(f"{str(target)!r} would run {name}; where that is code you trust, say so: --model {name}")
    return target, *load_model(target)


def undescribed(target: str, origin: Origin, num_classes: int, channels: int) -> nn.Module:
    """Return a model of others; `num_classes` and `channels` are those of the images it is to be measured on."""
    path, scale = Path(target), normalisation(origin, channels)
    model: nn.Module
    if path.suffix in WEIGHTS:
        model = of_weights(path, origin, num_classes, channels)
    elif path.suffix == ".pt2":
        model = open_program(path)
    elif path.suffix == ".onnx":
        from fastbat.audit.onnx import Onnx  # here, for its library is an extra

        model = Onnx(path)
    elif target.startswith("timm/"):
        model, scale = pretrained(target)
    else:
        model = find_model(target).build(num_classes=num_classes, channels=channels)
    return nn.Sequential(scale, model) if scale else model


def of_weights(path: Path, origin: Origin, num_classes: int, channels: int) -> nn.Module:
    """Return the network that `origin` names, without normalisation, with the weights of a file."""
    if origin.model is None:
        raise InputError(f"{str(path)!r} holds weights alone; say what network they are of: --model preactresnet18")
    shape: dict[str, Any] = {name: getattr(origin, name) for name in SHAPE if name != "dropout"}
    model = build_model(origin.model, num_classes=num_classes, mean=[0.0] * channels, std=[1.0] * channels, **shape)
    load_weights(model, path)
    return model


def normalisation(origin: Origin, channels: int) -> Normalize | None:
    """Return the normalisation asked for, None where there is none; InputError unless it has a number a channel."""
    if (origin.mean is None) != (origin.std is None):
        raise InputError("one of --mean and --std is given without the other; give both, or none where it is inside")
    if origin.mean is None or origin.std is None:
        return None
    mean, std = numbers("mean", origin.mean), numbers("std", origin.std)
    for what, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise InputError(f"{what} has {len(values)} numbers for images of {channels} channels; give one a channel")
    if min(std) <= 0:
        raise InputError(f"std is {origin.std}; every number must be above 0")
    return Normalize(mean, std)
