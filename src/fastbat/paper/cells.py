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
from fastbat.methods.lam import resolve_lambda
from fastbat.models import MODELS
from fastbat.training.settings import make_method, method_settings, under

METRICS = {"clean": "sa", "pgd": "ra_pgd", "aa": "ra_aa"}  # by attack
TRANSFER = "transfer-"  # an attack made on the surrogate that its name goes on with
VARIED = {"lam", "ig_mode", "ig_weight", "linearise", "penalty"}  # by tables; penalty: how one is computed, not what
PUBLISHED_WEIGHT = 0.1  # c of Eq. 13
ROUNDED = 0.025  # of alpha2 in Table 8


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
    return {table["number"]: table for table in data("tables")["table"]}


@cache
def claims_of_the_paper() -> list[dict[str, Any]]:
    """Return the paper's empirical claims, each with the comparisons that test it, as in claims.toml."""
    return list(data("claims")["claim"])


def data(name: str) -> dict[str, Any]:
    """Return a TOML file of this package."""
    return tomllib.loads((files("fastbat.paper") / f"{name}.toml").read_text(encoding="utf-8"))


def printed(train: Mapping[str, Any], attack: str, test_eps: float) -> list[Printed]:
    """Return the cells that print the accuracy under `attack` at `test_eps` (0-255) of a training like `train`.

    `train` are settings of `fastbat train` by name, as resolved: one that is left out is not known, the method's aside.
    """
    ours = arm_of(train)
    return [] if ours is None else [cell for cell in cells() if prints(cell, train, ours, attack, test_eps)]


def arm_of(train: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the method's settings, with what follows, of a training that is one of the paper's arms; else None."""
    ours = method_of(train)
    return ours if ours is not None and published(train, ours) else None


def prints(cell: Printed, train: Mapping[str, Any], ours: Mapping[str, Any], attack: str, test_eps: float) -> bool:
    """Say whether a cell is of the accuracy under `attack` at `test_eps` of the arm `train`, its method `ours`."""
    surrogate = attack.removeprefix(TRANSFER) if attack.startswith(TRANSFER) else None
    asked = (metric_of(attack), 0 if attack == "clean" else test_eps, surrogate)
    return (cell.metric, cell.test_eps, cell.other.get("surrogate")) == asked and of_arm(cell, train, ours)


def of_arm(cell: Printed, train: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Say whether a cell is of the arm `train`, its method being `ours`; a cell without a budget is of all."""
    same = all(
        getattr(cell, name) == train.get(name, usual)
        for name, usual in (("method", None), ("dataset", None), ("model", None), ("activation", "relu"))
    )
    return same and cell.train_eps in (None, train["eps"]) and varied_alike(cell, train, ours)


def metric_of(attack: str) -> str | None:
    """Return the paper's accuracy under an attack; None where it has none."""
    return "ra_transfer" if attack.startswith(TRANSFER) else METRICS.get(attack)


def method_of(train: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings of the method of `train` with what follows from them; None if it is none of ours."""
    name = train.get("method")
    if name not in METHODS or not train.get("eps"):
        return None
    own = {key: train[key] for key in method_settings(name) & train.keys()}
    try:
        method = under(train.get("protocol", "paper"), make_method(name, own))
    except (InputError, TypeError):
        return None
    return {**vars(method), **method.resolved}


def published(train: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Say whether network and method are the paper's, but for what its tables vary."""
    network = MODELS.get(train.get("model", ""))
    if network is None or train.get("stem", 3) != 3:
        return False
    if "shortcut" in network.settings and train.get("shortcut") != "raw":  # records before it was a setting: He's
        return False
    theirs = method_of({"method": train["method"], "eps": train["eps"]}) or {}
    return all(close(ours[name], theirs[name]) for name in ours.keys() - VARIED)


def varied_alike(cell: Printed, train: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Say whether a cell of FAST-BAT is of the same lambda, implicit term and linearisation point as `ours`."""
    if cell.method != "fast-bat":
        return True
    mode = "hessian-free" if ours["ig_mode"] == "tangent" else ours["ig_mode"]
    return cell.ig_mode == mode and cell.linearise == ours["linearise"] and same_weights(cell, train, ours)


def same_weights(cell: Printed, train: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Say whether lambda and the weight of the implicit term are those of a cell.

    Table 8 prints alpha2 / alpha1 = c lambda, to two or three digits, and leaves open which of the two it varies.
    """
    if alpha2 := cell.other.get("alpha2"):
        return close(ours["ig_weight"] * ours["lam"], alpha2, ROUNDED)
    sources = ("paper", "released") if train.get("protocol") == "released" else ("paper",)
    lams = [255 / cell.a_255] if cell.a_255 else [resolve_lambda(train["eps"] / 255, source) for source in sources]
    usual = ours["ig_mode"] == "none" or close(ours["ig_weight"], PUBLISHED_WEIGHT)
    return usual and any(close(ours["lam"], lam) for lam in lams)  # released: the tables do not say which they used


def close(one: Any, other: Any, share: float = 1e-3) -> bool:
    """Say whether two settings are the same, numbers to a `share` of them."""
    if isinstance(one, int | float) and isinstance(other, int | float) and not isinstance(one, bool):
        return abs(one - other) <= share * abs(other)
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
