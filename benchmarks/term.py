"""Is FAST-BAT's implicit term worth its cost? What the trials of suites/term-eps*.toml say, those that are finished.

    python benchmarks/term.py term-eps16 [--out FILE.json]

For every arm the accuracies in the mean over seeds; what they are above those of "none" on the same test images, with
two 95 % intervals: over the draw of the images, the seeds as they are (each image's mean over seeds, n images), and
over seeds (Student's t, so wide with three); and the norm of the term's gradient over that of the rest, by epoch.
An effect of 1.43 times the half-width over images (over three seeds 1.25 times theirs) would have been found with a
probability of 80 %: printed is the larger.
"""

import argparse
import json
from collections import defaultdict
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from machine import machine
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fastbat.files import read_records

LABELS = {"clean": "SA", "pgd": "RA-PGD-50-10", "aa": "RA-AA"}
STUDENT = {2: (12.706, 1.376), 3: (4.303, 1.061), 4: (3.182, 0.978), 5: (2.776, 0.941)}  # 97.5 and 80 %, by seeds
NORMAL = (1.960, 0.842)
Masks = dict[int, NDArray[np.float64]]  # by seed


def main() -> None:
    """Read the records and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path, help="folder of `fastbat suite run`")
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args()
    arms = defaultdict[str, dict[int, dict[str, object]]](dict)
    for record in read_records(args.suite / "results.jsonl"):
        if record["status"] == "finished":
            arms[record["trial"].rsplit("-seed", 1)[0]][record["train"]["seed"]] = record
    report = {"suite": args.suite.name, **machine(), "arms": [row(name, arms) for name in arms]}
    show(report)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def row(name: str, arms: dict[str, dict[int, dict[str, object]]]) -> dict[str, object]:
    """Return the figures of one arm."""
    records = arms[name]
    line: dict[str, object] = {"arm": name, "seeds": sorted(records)}
    for attack in LABELS:
        mine, base = (masks(each, attack) for each in (records, arms.get("none", {})))
        line[attack] = {"percent": round(mean(100 * m.mean() for m in mine.values()), 2), "n": len(mine[min(mine)])}
        if name != "none" and mine.keys() & base.keys():
            line[attack] |= above(mine, base)  # type: ignore[operator]
    epochs = zip(*(record["epochs"] for record in records.values()), strict=True)  # type: ignore[arg-type]
    along = [[each.get("term", 0.0) for each in epoch] for epoch in epochs]
    line["term"] = [round(mean(each), 6) for each in along]
    line["collapsed"] = sum(any(e.get("collapsed") for e in r["epochs"]) for r in records.values())  # type: ignore[attr-defined]
    line["seconds"] = [round(sum(e["seconds"] for e in r["epochs"])) for r in records.values()]  # type: ignore[attr-defined]
    return line


def masks(records: dict[int, dict[str, object]], attack: str) -> Masks:
    """Return which images withstand `attack` by seed, of the evaluation with most images."""
    found: Masks = {}
    for seed, record in records.items():
        for result in record["results"]:  # type: ignore[attr-defined]
            for each in result["accuracies"]:
                if each["attack"] == attack and each["n"] > len(found.get(seed, ())):
                    bits = np.unpackbits(np.frombuffer(bytes.fromhex(each["mask"]), np.uint8))
                    found[seed] = bits[: each["n"]].astype(float)
    return found


def above(mine: Masks, base: Masks) -> dict[str, object]:
    """Return the mean difference in points, and the half-widths of its two intervals."""
    seeds = sorted(mine.keys() & base.keys())
    gains = np.stack([100 * (mine[seed] - base[seed]) for seed in seeds])  # (seeds, images)
    by_image, by_seed = gains.mean(0), gains.mean(1)
    error = by_image.std(ddof=1) / sqrt(len(by_image))
    found = {"above_none": gains.mean(), "images": NORMAL[0] * error, "detectable": sum(NORMAL) * error}
    if len(seeds) in STUDENT:
        error = stdev(by_seed) / sqrt(len(seeds))
        found |= {
            "seeds": STUDENT[len(seeds)][0] * error,
            "detectable": max(found["detectable"], sum(STUDENT[len(seeds)]) * error),
        }
    return {name: round(float(value), 2) for name, value in found.items()} | {"by_seed": by_seed.round(2).tolist()}


def show(report: dict[str, object]) -> None:
    """Print the table."""
    table = Table(
        "arm", "seeds", *LABELS.values(), "term, first and last epoch", "collapsed", title=str(report["suite"])
    )
    for arm in report["arms"]:  # type: ignore[attr-defined]
        accuracies = []
        for attack in LABELS:
            found = arm[attack]
            text = f"{found['percent']:.1f}"
            if "above_none" in found:
                over_seeds = f", seeds {found['seeds']:.1f}" if "seeds" in found else ""
                text += f"\n{found['above_none']:+.2f} +- {found['images']:.2f}{over_seeds}"
                text += f"\n(detectable: {found['detectable']:.1f})"
            accuracies.append(text)
        term = f"{arm['term'][0]:.2g}, {arm['term'][-1]:.2g}"
        table.add_row(arm["arm"], str(len(arm["seeds"])), *accuracies, term, str(arm["collapsed"]))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
