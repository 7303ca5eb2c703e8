"""Is FAST-BAT's implicit term worth its cost? What the trials of suites/term-eps*.toml say, those that are finished.

    python benchmarks/term.py term-eps16 [--out FILE.json]

For every arm the accuracies of its best epochs in the mean over seeds; what they are above those of "none" on the same
test images, for the seeds that both have; and the norm of the term's gradient over that of the rest (of every 8th: over
8), by epoch. The 95 % interval behind +- is over images and seeds together: the root of the squares of that over the
draw of the images (each image's mean over the seeds) and that over seeds (Student's t, so wide with three). Detectable
is what such a design would find with a probability of 80 %, estimated from the same spread. With so many comparisons
one in twenty is beyond its interval by chance.
"""

import argparse
import json
from collections import defaultdict
from math import hypot, sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from machine import machine
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fastbat.files import read_records

ATTACKS = ("clean", "pgd", "aa")
NORMAL = (1.960, 2.802)  # standard errors: half of a 95 % interval, and what it finds with a probability of 80 %
STUDENT = {2: (12.706, 16.334), 3: (4.303, 5.653), 4: (3.182, 4.256), 5: (2.776, 3.761)}  # the same, by seeds
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
    if not arms:
        parser.error(f"no finished trial in {str(args.suite / 'results.jsonl')!r}; run the suite first")
    report = {"suite": args.suite.name, **machine(), "arms": [row(name, arms) for name in arms]}
    show(report)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def row(name: str, arms: dict[str, dict[int, dict[str, object]]]) -> dict[str, object]:
    """Return the figures of one arm."""
    records = arms[name]
    line: dict[str, object] = {"arm": name, "seeds": sorted(records)}
    for attack in ATTACKS:
        mine, base = (masks(each, attack) for each in (records, arms.get("none", {})))
        line[attack] = {"percent": round(mean(100 * m.mean() for m in mine.values()), 2), "n": len(mine[min(mine)])}
        line[attack] |= {"label": label(records, attack)}  # type: ignore[operator]
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


def label(records: dict[int, dict[str, object]], attack: str) -> str:
    """Return the field's name of the accuracy under `attack`."""
    results = next(iter(records.values()))["results"]
    return next(a["label"] for r in results for a in r["accuracies"] if a["attack"] == attack)  # type: ignore[attr-defined]


def above(mine: Masks, base: Masks) -> dict[str, object]:
    """Return the mean difference in points, the half-widths of its intervals, and what could have been found."""
    seeds = sorted(mine.keys() & base.keys())
    gains = np.stack([100 * (mine[seed] - base[seed]) for seed in seeds])  # (seeds, images)
    by_image, by_seed = gains.mean(0), gains.mean(1)
    of_images = by_image.std(ddof=1) / sqrt(len(by_image))
    of_seeds = stdev(by_seed) / sqrt(len(seeds)) if len(seeds) in STUDENT else float("nan")
    for_95, for_80 = (
        hypot(n * of_images, t * of_seeds) for n, t in zip(NORMAL, STUDENT.get(len(seeds), NORMAL), strict=True)
    )
    found = {
        "above_none": gains.mean(),
        "images": NORMAL[0] * of_images,
        "seeds": STUDENT.get(len(seeds), NORMAL)[0] * of_seeds,
        "both": for_95,
        "detectable": for_80,
    }
    return {k: round(float(v), 2) for k, v in found.items() if v == v} | {"by_seed": by_seed.round(2).tolist()}


def show(report: dict[str, object]) -> None:
    """Print the table."""
    arms: list[dict[str, Any]] = report["arms"]  # type: ignore[assignment]
    heads = (f"{arms[0][attack]['label']}, n {arms[0][attack]['n']}" for attack in ATTACKS)
    table = Table("arm", "seeds", *heads, "term, first and last epoch", "collapsed", "s", title=str(report["suite"]))
    for arm in arms:
        accuracies = []
        for attack in ATTACKS:
            found = arm[attack]
            text = f"{found['percent']:.1f}"
            if "above_none" in found:
                text += f"\n{found['above_none']:+.2f} +- {found.get('both', found['images']):.2f}"
                text += f"\n(detectable {found['detectable']:.1f})" if "detectable" in found else " (images alone)"
            accuracies.append(text)
        term = f"{arm['term'][0]:.2g}, {arm['term'][-1]:.2g}"
        seconds = f"{mean(arm['seconds']):.0f}"
        table.add_row(arm["arm"], str(len(arm["seeds"])), *accuracies, term, str(arm["collapsed"]), seconds)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
