"""What things are called on the page: methods, data sets, networks, attacks, scales, in the field's words."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from fastbat.methods import METHODS
from fastbat.results.records import Record, Trial
from fastbat.suite.stand_in import stand_in

SHOWN = {
    "standard": "Standard", "yopo": "YOPO-5-3", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100",
    "tiny-imagenet": "Tiny-ImageNet", "imagenet": "ImageNet", "preactresnet18": "PreActResNet-18",
    "preactresnet34": "PreActResNet-34", "preactresnet50": "PreActResNet-50", "cnn": "small CNN",
    "clean": "SA", "pgd": "RA-PGD", "aa": "RA-AA", "best": "best epoch", "last": "last epoch",
    "best-ema": "best epoch, averaged weights", "last-ema": "last epoch, averaged weights",
}  # fmt: skip
MACHINE = ("seed", "data_dir", "device", "workers", "init_from")  # settings that make no other arm
SCALE = ("dataset", "model", "width", "train_limit", "batch_size", "epochs", "protocol", "precision")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def shown(name: str) -> str:
    """Return the name of a method, data set or network as the field writes it."""
    return SHOWN.get(name) or (name.upper() if name in METHODS else name)


def title(trial: Trial) -> str:
    """Return what a trial is called: its method, or the file of a model of others."""
    method = trial.setting("method")
    ours = method and (trial.setting("eps") is not None or method == "standard")
    return shown(str(method)) if ours else trial.name


def arm(trial: Trial) -> tuple[tuple[str, str], ...]:
    """Return what all seeds of a trial have in common."""
    same = {name: value for name, value in trial.train.items() if name not in MACHINE}
    own = () if trial.seed is not None else (("", trial.name),)  # a model of others
    return (*sorted((name, repr(value)) for name, value in same.items()), *own)


def notes(arms: Sequence[Trial]) -> list[dict[str, str]]:
    """Return what tells each trial from the others of its method, or from the published method, and its own scale."""
    scales = [{name: scale_of(trial, name) for name in SCALE} for trial in arms]
    usual = {name: Counter(repr(scale[name]) for scale in scales).most_common(1)[0][0] for name in SCALE}
    found = []
    for trial, scale in zip(arms, scales, strict=True):
        alike = [each.train for each in arms if each.setting("method") == trial.setting("method")]
        told = {*differing(alike), *unpublished(trial)}
        own = [name for name in trial.train if name in told and name not in SCALE and name != "eps"]
        other = [name for name in SCALE if scale[name] is not None and repr(scale[name]) != usual[name]]
        values = {**{name: trial.train[name] for name in own}, **{name: scale[name] for name in other}}
        found.append({name.replace("_", " "): value_of(value) for name, value in values.items()})
    return found


def unpublished(trial: Trial) -> list[str]:
    """Return the settings of its method that a trial was given, and that are not the method's own."""
    method = METHODS.get(str(trial.setting("method")))
    usual = {field.name: field.default for field in fields(method)} if method else {}  # type: ignore[arg-type]
    return [name for name, value in trial.train.items() if name in usual and name != "eps" and value != usual[name]]


def scale_of(trial: Trial, name: str) -> Any:
    """Return a setting of the scale of a training; its epochs are those that it has had."""
    return len(trial.epochs) or trial.setting("epochs") if name == "epochs" else trial.setting(name)


def differing(tables: Sequence[Record]) -> list[str]:
    """Return the names of settings that are not the same in all tables, in their order."""
    names = dict.fromkeys(name for table in tables for name in table if name not in MACHINE)
    return [name for name in names if len({repr(table.get(name)) for table in tables}) > 1]


def value_of(value: Any) -> str:
    """Return a setting's value as text."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def network(trial: Trial) -> str:
    """Return the network of a trial, with its width."""
    name, width = trial.setting("model"), trial.setting("width")
    if not name:
        return "not recorded"
    return shown(str(name)) + (f", width {width}" if width else "")


def instead(trial: Trial) -> str:
    """Return in words what the images of a trial stand in for; nothing if they are what they are called."""
    return stand_in(str(trial.setting("dataset")), trial.stands_for, trial.classes, shown)


def images(trial: Trial) -> str:
    """Return what was trained on."""
    limit = trial.setting("train_limit")
    return f"the first {limit:,}" if limit else "all" if trial.train else "not recorded"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return `one seed`, `two seeds`, `13 seeds`."""
    word = NUMBERS[number] if number < len(NUMBERS) else f"{number:,}"
    return f"{word} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Iterable[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def span(numbers: Iterable[int]) -> str:
    """Return `8`, or `8 to 10` where they differ."""
    every = sorted(set(numbers))
    return "" if not every else f"{every[0]:,}" if len(every) == 1 else f"{every[0]:,} to {every[-1]:,}"
