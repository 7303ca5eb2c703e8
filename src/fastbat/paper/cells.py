"""The cells of Tables 1 to 11, and those that print the accuracy of a training with given settings.

A training is the paper's arm if its method, data set, network, activation and budget are, and its method's settings.
Width, images, epochs, seeds and precision are the scale, which may be another: the page says both.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from fastbat.errors import InputError
from fastbat.methods import METHODS
from fastbat.training.settings import make_method, method_settings, under

METRICS = {"clean": "sa", "pgd": "ra_pgd", "aa": "ra_aa"}  # by attack
STEP = {2.0: 3000.0, 8.0: 5000.0, 16.0: 2500.0}  # 255 / lambda by eps: Sec. 5.1, App. C.1
VARIED = ("lam", "ig_mode", "ig_weight", "linearise")  # settings of FAST-BAT that its tables vary
FREE = ("penalty",)  # how a penalty is computed, not what it is


@dataclass(frozen=True)
class Printed:
    """A number as the paper prints it."""

    table: int
    method: str
    dataset: str
    model: str
    metric: str  # sa, ra_pgd, ra_aa, ra_transfer, time
    mean: float
    std: float | None = None
    train_eps: float | None = None
    test_eps: float | None = None
    activation: str = "relu"
    ig_mode: str = "hessian-free"
    linearise: str = "pgd-nosign"
    a_255: float | None = None
    unit: str = "%"
    other: Mapping[str, Any] = field(default_factory=dict)  # alpha2, surrogate


@cache
def cells() -> tuple[Printed, ...]:
    """Return every cell of Tables 1 to 11."""
    names = Printed.__dataclass_fields__.keys() - {"other"}
    found = []
    for table in tables().values():
        for cell in table["cell"]:
            known = {name: value for name, value in cell.items() if name in names}
            other = {name: value for name, value in cell.items() if name not in names and name != "row"}
            found.append(Printed(**known, other=other))
    return tuple(found)


@cache
def tables() -> dict[int, dict[str, Any]]:
    """Return the tables by number, as in tables.toml."""
    text = (files("fastbat.paper") / "tables.toml").read_text(encoding="utf-8")
    return {table["number"]: table for table in tomllib.loads(text)["table"]}


def printed(train: Mapping[str, Any], attack: str, test_eps: float) -> list[Printed]:
    """Return the cells that print the accuracy under `attack` at `test_eps` (0-255) of a training like `train`.

    `train` are settings of `fastbat train` by name, those at their defaults left out or not.
    """
    metric, eps = METRICS.get(attack), train.get("eps")
    if metric is None or eps is None or not as_published(train):
        return []
    wanted = {
        "method": train.get("method"), "dataset": train.get("dataset"), "model": train.get("model"),
        "activation": train.get("activation", "relu"), "metric": metric, "train_eps": eps,
        "test_eps": 0 if attack == "clean" else test_eps,
    }  # fmt: skip
    same = [cell for cell in cells() if all(getattr(cell, name) == value for name, value in wanted.items())]
    return [cell for cell in same if not cell.other and varied_alike(cell, train)]


def as_published(train: Mapping[str, Any]) -> bool:
    """Say whether network and method are the paper's, but for what its tables vary."""
    name, eps = train.get("method"), train["eps"]
    if name not in METHODS or train.get("shortcut", "raw") != "raw" or train.get("stem", 3) != 3:
        return False
    own = {key: train[key] for key in method_settings(name) & train.keys() if key != "eps"}
    try:
        method = under("paper", make_method(name, {"eps": eps}))
    except InputError:
        return False
    default = {**vars(method), **method.resolved}
    fixed = own.keys() - {*VARIED, *FREE}
    return all(close(own[key], default.get(key)) for key in fixed)


def varied_alike(cell: Printed, train: Mapping[str, Any]) -> bool:
    """Say whether a cell of FAST-BAT is of the same lambda, implicit term and linearisation point as `train`."""
    if cell.method != "fast-bat":
        return True
    mode = train.get("ig_mode", "tangent")
    same_mode = cell.ig_mode == ("hessian-free" if mode == "tangent" else mode)
    eps, lam = float(train["eps"]), train.get("lam")
    usual = STEP.get(eps)
    ours = 255 / lam if isinstance(lam, int | float) and lam else usual
    released = cell.a_255 is None and train.get("protocol") == "released"  # whose step may be what the tables used
    same_step = released or (ours is not None and close(ours, cell.a_255 or usual))
    same_weight = close(train.get("ig_weight", 0.1), 0.1)
    return same_mode and same_step and same_weight and cell.linearise == train.get("linearise", "pgd-nosign")


def close(one: Any, other: Any) -> bool:
    """Say whether two settings are the same, numbers to 0.1 %."""
    if isinstance(one, int | float) and isinstance(other, int | float) and not isinstance(one, bool):
        return abs(one - other) <= 1e-3 * abs(other)
    return bool(one == other)


def scale(number: int) -> dict[str, str]:
    """Return the scale of a table of the paper in words: epochs, seeds, test images."""
    table = tables()[number]
    return {
        "epochs": str(table.get("epochs") or "not stated"),
        "seeds": str(table.get("seeds") or "not stated"),
        "training images": "90 % of the training set",
        "test images": "the whole test set",
    }
