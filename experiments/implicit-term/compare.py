"""Is FAST-BAT's implicit term worth its cost? Every arm of a suite against "none": paired differences by attack.

    python experiments/implicit-term/compare.py SUITE [--rounding OTHER] [--out FILE.json]

Accuracies are of the best epoch's weights, mean over the seeds. A difference is to "none" with the same seed on the
same test images. "term" is the norm of the term's gradient over that of the rest, by epoch ("every 8th": over 8).

The 95 % interval is over images and seeds together: the root of the sum of two squares. One is 1.96 standard errors
over the draw of the images, each image's mean over the seeds. The other is Student's t times the standard error of a
block design whose blocks are the seeds: what is left of the arms' accuracies once arm and seed are taken out, with
(arms - 1)(seeds - 1) degrees of freedom. Both hold the noise of a seed on an image, so the interval errs on the wide
side if all arms have one spread; an arm with a larger spread gets too narrow an interval. "Detectable" is what the
design finds with a probability of 80 %.

An arm fails if one of its seeds has no epoch with a validation RA above always predicting one class. It is left out of
the blocks, and its differences are given seed by seed. The arms share "none", so their errors are correlated. The
comparison that the paper's claim rests on is RA-PGD of c = 0.1. "rounding" is "none" of the suite OTHER, equal but for
its rounding.
"""

import argparse
import json
import sys
from collections import defaultdict
from math import hypot, sqrt
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

from fastbat.files import read_records

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import machine

ATTACKS = ("clean", "pgd", "aa")
NORMAL = (1.960, 2.802)  # standard errors: half of a 95 % interval, and what it finds with a probability of 80 %
Records = dict[int, dict[str, Any]]  # by seed
Masks = NDArray[np.float64]  # (seeds, images), in percent


def main() -> None:
    """Read the records and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path, help="folder of `fastbat suite run`")
    parser.add_argument("--rounding", type=Path, help='a second such folder, of whose trials "none" is read')
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args()
    arms = finished(args.suite)
    if "none" not in arms:
        parser.error(f'no finished trial of "none" in {str(args.suite / "results.jsonl")!r}; run the suite first')
    if args.rounding:
        arms["rounding"] = finished(args.rounding)["none"]
    report = {"suite": args.suite.name, **machine(), "arms": [row(name, arms) for name in arms]}
    show(report)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def finished(suite: Path) -> dict[str, Records]:
    """Return the records of the finished trials by arm and seed."""
    arms = defaultdict[str, Records](dict)
    for record in read_records(suite / "results.jsonl"):
        if record["status"] == "finished":
            arms[record["trial"].rsplit("-seed", 1)[0]][record["train"]["seed"]] = record
    return {name: dict(sorted(records.items())) for name, records in arms.items()}


def row(name: str, arms: dict[str, Records]) -> dict[str, Any]:
    """Return the figures of one arm."""
    records = arms[name]
    epochs = [record["epochs"] for record in records.values()]
    line: dict[str, Any] = {"arm": name, "seeds": list(records)}
    line["best_epoch"] = [max(e["epoch"] for e in each if e["best"]) for each in epochs]
    for attack in ATTACKS:
        mine = masks(records, attack)
        line[attack] = {"percent": round(float(mine.mean()), 2), "n": mine.shape[1]}
        if name != "none":
            line[attack] |= above(name, arms, attack)
    line["term"] = [round(mean(each.get("term", 0.0) for each in epoch), 6) for epoch in zip(*epochs, strict=True)]
    line["collapsed"] = sum(any(e.get("collapsed") for e in each) for each in epochs)
    line["fastest_epoch_s"] = round(min(e["seconds"] for each in epochs for e in each))
    return line


def masks(records: Records, attack: str) -> Masks:
    """Return which images withstand `attack`, of the evaluation with most images."""
    rows = []
    for record in records.values():
        found = [each for result in record["results"] for each in result["accuracies"] if each["attack"] == attack]
        most = max(found, key=lambda each: int(each["n"]))
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(most["mask"]), np.uint8))[: most["n"]]
        rows.append(100.0 * bits)
    return np.stack(rows)


def above(name: str, arms: dict[str, Records], attack: str) -> dict[str, Any]:
    """Return the mean difference from "none" in points, by seed too, its interval and what could have been found."""
    seeds = sorted(arms[name].keys() & arms["none"].keys())
    mine, base = (masks({seed: arms[each][seed] for seed in seeds}, attack) for each in (name, "none"))
    gains = mine - base
    changed = float((gains != 0).mean())
    found = {"above_none": round(float(gains.mean()), 2), "by_seed": gains.mean(1).round(2).tolist()}
    found["changed_percent"] = round(100 * changed, 1)
    if failed(arms[name]) or (left := blocks(arms, attack)) is None or len(seeds) < 2:
        return found
    spread, degrees = left
    of_images = gains.mean(0).std(ddof=1) / sqrt(gains.shape[1])
    of_seeds = spread * sqrt(2 / len(seeds))
    half, power = stats.t.ppf(0.975, degrees), stats.t.ppf(0.8, degrees)
    found["images"], found["seeds_only"] = round(NORMAL[0] * of_images, 2), round(half * of_seeds, 2)
    found["both"] = round(hypot(NORMAL[0] * of_images, half * of_seeds), 2)
    found["detectable"] = round(hypot(NORMAL[1] * of_images, (half + power) * of_seeds), 2)
    return found


def failed(records: Records) -> bool:
    """Say whether a seed has no epoch that is more robust than guessing."""
    classes = len(next(iter(records.values()))["results"][0]["accuracies"][0]["per_class"])
    return any(max(epoch["val_ra"] for epoch in each["epochs"]) <= 100 / classes for each in records.values())


def blocks(arms: dict[str, Records], attack: str) -> tuple[float, int] | None:
    """Return the standard deviation that arm and seed leave of an accuracy, and its degrees of freedom."""
    seeds = arms["none"].keys()
    whole = [each for name, each in arms.items() if name != "rounding" and each.keys() >= seeds and not failed(each)]
    table = np.stack([masks({s: each[s] for s in seeds}, attack).mean(1) for each in whole])  # (arms, seeds)
    degrees = (table.shape[0] - 1) * (table.shape[1] - 1)
    if not degrees:
        return None
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return sqrt(float((left**2).sum()) / degrees), degrees


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    arms: list[dict[str, Any]] = report["arms"]
    names = {"clean": "SA", "pgd": "RA-PGD-50-10", "aa": "RA-AA"}
    heads = (f"{names[attack]}, n {arms[0][attack]['n']}" for attack in ATTACKS)
    table = Table("arm", "seeds", *heads, "best epochs", "term, first and last epoch", title=str(report["suite"]))
    for arm in arms:
        term = f"{100 * arm['term'][0]:.2g} %, {100 * arm['term'][-1]:.2g} %"
        best = ", ".join(map(str, arm["best_epoch"]))
        table.add_row(arm["arm"], str(len(arm["seeds"])), *(cell(arm[attack]) for attack in ATTACKS), best, term)
    Console(width=130).print(table)


def cell(found: dict[str, Any]) -> str:
    """Return an accuracy, what it is above that of "none", and how many images differ from it with the same seed."""
    lines = [f"{found['percent']:.1f}"]
    if "both" in found:
        lines += [f"{found['above_none']:+.2f} +- {found['both']:.2f}", f"(detectable {found['detectable']:.1f})"]
    elif "by_seed" in found:
        lines.append(", ".join(f"{gain:+.2f}" for gain in found["by_seed"]))
    if "changed_percent" in found:
        lines.append(f"{found['changed_percent']:.1f} % differ")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
