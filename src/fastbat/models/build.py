"""A network by name, behind its normalisation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastbat.errors import InputError, choose
from fastbat.lazy import lazy_function, nn
from fastbat.models.cnn import cnn
from fastbat.models.external import EXTERNAL, external, resnet50

preact_resnet = lazy_function("fastbat.models.preact_resnet", "preact_resnet")
bottleneck_resnet = lazy_function("fastbat.models.preact_resnet", "bottleneck_resnet")
resnet = lazy_function("fastbat.models.resnet", "ResNet")
wide_resnet = lazy_function("fastbat.models.wide_resnet", "wide_resnet")
released_wide_resnet = lazy_function("fastbat.models.wide_resnet", "released_wide_resnet")


@dataclass(frozen=True)
class Architecture:
    """A network that `build_model` makes."""

    what: str  # for people
    build: Callable[..., nn.Module]  # build(num_classes=, channels=, **settings), without normalisation
    settings: Mapping[str, Any]  # those it takes, with their published values


# of the paper's Table 11; the softplus is log(1 + exp(10 x)) / 10
ACTIVATIONS = {"relu": lambda: nn.ReLU(), "softplus": lambda: nn.Softplus(10), "swish": lambda: nn.SiLU()}
SHAPE = ("width", "activation", "stem", "dropout", "shortcut")  # the settings that a network may take
SHORTCUTS = ("raw", "preact")
RELU = {"activation": "relu"}
PLAIN = {"width": 64, **RELU}
BOTTLENECK = {**PLAIN, "stem": 3}
BASIC = {**BOTTLENECK, "shortcut": "raw"}
WIDE = {"width": 16, "stem": 3, "dropout": 0.0, **RELU}

MODELS = {
    "cnn": Architecture("three convolutions and two linear layers, for small images", cnn, {"width": 32, **RELU}),
    "preactresnet18": Architecture("PreActResNet-18 (He et al., 2016)", partial(preact_resnet, (2, 2, 2, 2)), BASIC),
    "preactresnet34": Architecture("PreActResNet-34", partial(preact_resnet, (3, 4, 6, 3)), BASIC),
    "preactresnet50": Architecture(
        "PreActResNet-50, bottlenecks", partial(bottleneck_resnet, (3, 4, 6, 3)), BOTTLENECK
    ),
    "resnet18": Architecture("ResNet-18 with a stem for small images", partial(resnet, (2, 2, 2, 2)), PLAIN),
    "wideresnet-16-8": Architecture("WRN-16-8 (Zagoruyko & Komodakis, 2016)", partial(wide_resnet, 16, 8), WIDE),
    "wideresnet-16-8-released": Architecture(
        "WRN-16-8 of FAST-BAT's released code: 22 layers", partial(released_wide_resnet, 16, 8), WIDE | {"dropout": 0.1}
    ),
    "wideresnet-28-10": Architecture("WRN-28-10", partial(wide_resnet, 28, 10), WIDE),
    "wideresnet-34-10": Architecture("WRN-34-10", partial(wide_resnet, 34, 10), WIDE),
    "resnet50": Architecture("ResNet-50 for ImageNet, torchvision's", resnet50, RELU),
}
WITHOUT = {"dropout": 0.0, "activation": "relu"}  # settings that say nothing of a network that does not take them


def find_model(name: str) -> Architecture:
    """Return the network `name` of MODELS or of EXTERNAL's forms; InputError for an unknown name, with the nearest."""
    if name not in MODELS and (build := external(name)) is not None:
        return Architecture(name, build, {})
    return MODELS[choose("model", name, [*MODELS, *EXTERNAL])]


def resolve_model(name: str, **given: Any) -> dict[str, Any]:
    """Return the settings `given`, None replaced by the network's own; InputError for one that it does not take."""
    takes = find_model(name).settings
    for setting, value in given.items():
        if setting not in takes and value not in (None, WITHOUT.get(setting)):
            raise InputError(f"{setting} is {value}, but {name} has no such setting; leave it out")
    return {
        setting: value if setting in takes and value is not None else takes.get(setting)
        for setting, value in given.items()
    }


def as_of_now(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return `saved`, a network's name and settings, as this version writes them.

    Older versions did not write the shortcut, which was He's, and wrote settings that the network does not take.
    """
    network = MODELS.get(saved.get("name", saved.get("model")))
    takes = network.settings if network else {}
    kept = {name: value for name, value in saved.items() if name not in SHAPE or name in takes}
    return ({"shortcut": "preact"} if "shortcut" in takes else {}) | kept


def build_model(
    name: str,
    *,
    num_classes: int = 10,
    width: int | None = None,
    activation: str | None = None,
    stem: int | None = None,
    dropout: float | None = None,
    shortcut: str | None = None,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> nn.Sequential:
    """Return a network behind its normalisation, (B, C, H, W) in [0, 1] -> logits (B, num_classes).

    Its weights are drawn from torch's global generator. A setting of None is the network's own.

    Args:
        name: one of MODELS, torchvision/NAME, timm/NAME, or module:function, which runs that code.
        num_classes: at least 1.
        width: channels of the first layer; published: 64 for PreActResNets, 16 for WideResNets.
        activation: relu, softplus (beta 10) or swish.
        stem: kernel of the first convolution: 3, 7 or 15, with stride 1, 2 or 3.
        dropout: of a WideResNet, in [0, 1).
        shortcut: of PreActResNet-18 and -34: raw (the released codes) or preact (He et al.).
        mean: what is subtracted from each channel; their number fixes C.
        std: what each channel is divided by.

    Raises:
        InputError: For an unknown name, a setting that the network does not take, or a value out of its range.
    """
    from fastbat.models.normalize import Normalize

    settings = resolve_model(name, width=width, activation=activation, stem=stem, dropout=dropout, shortcut=shortcut)
    for what, size in {"width": settings["width"], "num_classes": num_classes}.items():
        if size is not None and size < 1:
            raise InputError(f"{what} is {size}; a network needs at least 1")
    if dropout is not None and not 0 <= dropout < 1:
        raise InputError(f"dropout is {dropout:g}; it must lie in [0, 1)")
    choose("shortcut", shortcut or SHORTCUTS[0], SHORTCUTS)
    settings["activation"] = ACTIVATIONS[choose("activation", settings["activation"] or "relu", ACTIVATIONS)]
    card = find_model(name)
    network = card.build(
        num_classes=num_classes, channels=len(mean), **{setting: settings[setting] for setting in card.settings}
    )
    return nn.Sequential(OrderedDict(normalize=Normalize(mean, std), network=network))
