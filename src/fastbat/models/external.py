"""Networks of others, with random weights: torchvision's and timm's classifiers by name, the user's own code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from fastbat.errors import InputError, choose
from fastbat.lazy import nn
from fastbat.progress import say

if TYPE_CHECKING:
    from fastbat.models.normalize import Normalize

EXTERNAL = {
    "torchvision/NAME": "any classifier of torchvision, such as torchvision/resnet18; random weights",
    "timm/NAME": "any classifier of timm, such as timm/convnext_atto (pip install timm); random weights",
    "MODULE:FUNCTION": "your own code, run as FUNCTION(num_classes=N) or FUNCTION(): images to logits",
}
UNDECIDED = ("googlenet", "inception_v3")  # torchvision warns unless it is said whether their weights are drawn


def external(name: str) -> Callable[..., nn.Module] | None:
    """Return build(num_classes=, channels=) of an external network, None where `name` is not of EXTERNAL's forms.

    Raises InputError for a name that torchvision or timm does not know, or where timm is not installed.
    """
    library, slash, rest = name.partition("/")
    if slash and library == "torchvision":
        models = import_module("torchvision.models")  # here, for it takes a second
        return partial(from_torchvision, choose("torchvision model", rest, models.list_models(module=models)))
    if slash and library == "timm":
        build = partial(timm(name).create_model, choose("timm model", rest, timm(name).list_models()))
        return lambda *, num_classes, channels: build(num_classes=num_classes, in_chans=channels)
    module, colon, function = name.partition(":")
    return partial(from_code, module, function) if module and colon and function else None


def timm(name: str) -> Any:
    """Return the library timm; InputError where it is not installed."""
    try:
        return import_module("timm")
    except ImportError as error:
        raise InputError(f"{name} needs timm: pip install timm") from error


def pretrained(name: str) -> tuple[nn.Module, Normalize]:
    """Return the network timm/NAME with timm's own weights, which are downloaded, and its normalisation."""
    from fastbat.models.normalize import Normalize

    library = timm(name)
    chosen = choose("timm model", name.partition("/")[2].partition(".")[0], library.list_models())
    try:
        network = library.create_model(name.partition("/")[2], pretrained=True)
    except Exception as error:  # its own, the hub's and the network's
        why = " ".join(str(error).split())
        raise InputError(
            f"the weights of {name} ({chosen}) are not available: {why}; check name and network"
        ) from error
    return network, Normalize(network.pretrained_cfg["mean"], network.pretrained_cfg["std"])


def from_torchvision(name: str, *, num_classes: int, channels: int) -> nn.Module:
    """Return torchvision's classifier `name`, which takes colour images."""
    if channels != 3:
        raise InputError(f"torchvision's {name} takes images of 3 channels, not {channels}")
    how = {"init_weights": True} if name in UNDECIDED else {}
    network: nn.Module = import_module("torchvision.models").get_model(
        name, weights=None, num_classes=num_classes, **how
    )
    return network


def from_code(module: str, function: str, *, num_classes: int, channels: int) -> nn.Module:
    """Return what `function` of `module` returns, given `num_classes` if it takes that. This runs that code.

    The module may lie in the working folder.
    """
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        code = import_module(module)
        say(f"model {module}:{function} runs {code.__file__}")
        build = getattr(code, function)
        network: Any = build(num_classes=num_classes) if takes_classes(build) else build()
    except Exception as error:  # whatever it raises
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"model {module}:{function} for {num_classes} classes: {why}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"model {module}:{function} returned {type(network).__name__}, not a torch.nn.Module")
    return network


def takes_classes(build: Callable[..., Any]) -> bool:
    """Return whether a function takes num_classes, by name or among any others."""
    try:
        parameters = signature(build).parameters
    except (TypeError, ValueError):  # of C, which say nothing
        return True
    return "num_classes" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def resnet50(*, num_classes: int, channels: int, activation: Callable[[], nn.Module]) -> nn.Module:
    """Return torchvision's ResNet-50 with every ReLU replaced by `activation`."""
    network = from_torchvision("resnet50", num_classes=num_classes, channels=channels)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, activation())
    return network
