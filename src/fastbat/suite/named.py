"""Suites by name, each at a scale (suite/tables/): the paper's tables and figures, and the leaderboard.

A named suite is a table of trials like a user's, with its differences of scale in [scale.NAME], those of an arm in the
arm's `scale.NAME`. Its `scales` are paper, cpu and smoke unless it names others. At a scale it becomes a plain table:
an arm for each training but for its seed, with a name of its own. Where a scale has another data set or another network
with it, the table says what they stand for.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastbat.errors import InputError, choose
from fastbat.files import read_toml
from fastbat.suite.trials import MEASURED, TABLE, combinations, listed, trial_name

Table = dict[str, Any]
FOLDER = files("fastbat.suite") / "tables"
SCALES = ("paper", "cpu", "smoke")  # of a suite that names no others
STANDS_FOR = "stands_for"
BY_VALUE = ("method", "model", "dataset")  # settings whose value brings others with it at a scale


def names() -> list[str]:
    """Return the names of the suites: table1, table2, ..., figure1, ..., appendix-e, leaderboard."""
    found = [each.name.removesuffix(".toml") for each in FOLDER.iterdir() if each.name.endswith(".toml")]
    return sorted((name for name in found if name != "scales"), key=lambda name: ("tfal".index(name[0]), number(name)))


def number(name: str) -> int:
    """Return the number in a name, 0 if there is none."""
    return int(re.sub(r"\D", "", name) or 0)


def title(name: str) -> str:
    """Return what the suite `name` is about."""
    return str(read(name)["title"])


def scales(name: str | None = None) -> dict[str, str]:
    """Return what each scale is, by name; those of the suite `name`, if one is given."""
    own = None if name is None else read(name).get("scales", SCALES)
    return {scale: about["says"] for scale, about in read("scales").items() if own is None or scale in own}


def at_scale(name: str, scale: str) -> Table:
    """Return the suite `name` at a scale as a plain table of trials; InputError where either is unknown.

    Its trainings lie in the folder `runs` beside its own, which other suites share.
    """
    suite = read(choose("suite", name, names()))
    return {"store": "../runs", **scaled(suite, read("scales")[choose("scale", scale, scales(name))], scale)}


def check_free(folder: Path, table: Mapping[str, Any]) -> None:
    """Raise InputError where `folder` has another table, as of another scale."""
    before = read_toml(folder / TABLE).get("title") if (folder / TABLE).exists() else table["title"]
    if before != table["title"]:
        raise InputError(f"{str(folder)!r} holds {before!r}; name another --out for {table['title']!r}")


def read(name: str) -> Table:
    """Return a TOML file of the folder."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def scaled(suite: Mapping[str, Any], scale: Mapping[str, Any], name: str) -> Table:
    """Return the plain table of a suite at the scale `name`: title, stands_for, train, arm, evaluate."""
    own = suite.get("scale", {}).get(name, {})
    shared = {**scale["train"], **suite.get("train", {}), **own.get("train", {})}
    seed = shared.pop("seed", 0)
    asked = [*suite.get("arm", [{}]), *own.get("arm", ())]
    every = [arm for each in asked for arm in arms_of(own_of(each, name), shared, scale)]
    instead = stands_for(every)
    arms = distinct([{key: value for key, value in arm.items() if key != STANDS_FOR} for arm in every])
    order = listed(shared.get("eps", []))
    arms.sort(key=lambda arm: order.index(arm["eps"]) if arm.get("eps") in order else 0)
    common = {key: value for key, value in settings(arms[0]).items() if all(arm.get(key) == value for arm in arms)}
    measured = measurements(suite, scale)
    measured["evaluate"] = [*measured["evaluate"], *own.get("evaluate", ())]
    return {
        "title": f"{suite['title']} ({name} scale)",
        **({STANDS_FOR: instead} if instead else {}),
        "train": {**common, "seed": seed},
        "arm": [{key: value for key, value in arm.items() if key not in common} for arm in arms],
        **measured,
    }


def own_of(arm: Mapping[str, Any], scale: str) -> Table:
    """Return an arm with its own differences at a scale."""
    return {**{key: value for key, value in arm.items() if key != "scale"}, **arm.get("scale", {}).get(scale, {})}


def arms_of(arm: Table, shared: Table, scale: Mapping[str, Any]) -> list[Table]:
    """Return the arms that an arm's lists stand for, each with its name and all its settings but the seed."""
    every = {**shared, **settings(arm)}
    found = []
    for chosen in combinations(every):
        name, published = trial_name(arm.get("name"), every, chosen), dict(chosen)
        for setting in BY_VALUE:
            chosen |= scale.get(setting, {}).get(chosen.get(setting), {})
        instead = {STANDS_FOR: published} if chosen["dataset"] != published["dataset"] else {}
        found.append({"name": name, **chosen, **measurements(arm, scale), **instead})
    return found


def stands_for(arms: list[Table]) -> dict[str, list[str]]:
    """Return by its name the published data sets that another is in place of, with their network if that differs."""
    found: dict[str, list[str]] = {}
    for arm in arms:
        if published := arm.get(STANDS_FOR):
            network = f" with {published['model']}" if published["model"] != arm["model"] else ""
            names, name = found.setdefault(arm["dataset"], []), published["dataset"] + network
            names += [name] if name not in names else []
    return found


def settings(arm: Table) -> Table:
    """Return the settings of an arm's training."""
    return {key: value for key, value in arm.items() if key not in ("name", *MEASURED)}


def measurements(asked: Mapping[str, Any], scale: Mapping[str, Any]) -> Table:
    """Return what a suite or an arm of it is measured by, at a scale: its `evaluate` and its `diagnose`."""
    found = {kind: listed(asked[kind]) for kind in MEASURED if kind in asked}
    beneath = scale.get("evaluate", {}), scale.get("diagnose", {})
    if "evaluate" in found:
        found["evaluate"] = [evaluation(each, beneath[0]) for each in found["evaluate"]]
    if "diagnose" in found:
        found["diagnose"] = [beneath[1] | each for each in found["diagnose"]]
    return found


def distinct(arms: list[Table]) -> list[Table]:
    """Return the arms without those that another has the settings of, as where one data set stands in for several."""
    kept: dict[str, Table] = {}
    for arm in arms:
        kept.setdefault(repr(sorted((key, repr(value)) for key, value in settings(arm).items())), arm)
    return list(kept.values())


def evaluation(asked: Table, beneath: Mapping[str, Any]) -> Table:
    """Return the settings of an evaluation, with those of its attacks `beneath` them."""
    by_attack = [beneath.get(attack, {}) for attack in asked["attacks"].split(",")]
    return {key: value for each in (*by_attack, asked) for key, value in each.items()}
