"""The hint in the pairs of an arm and "none", the intervals without c = 1, changed images by seed, another processor.

    python experiments/implicit-term/pairs.py

From the masks in eps16/, eps8/ and the two controls. The first table has an arm's RA less that of "none" with the same
seed on the same images, for every budget and seed. Their mean has two 95 % intervals: over the pairs (Student's t), and
over the draw of the images, which all pairs share (1.96 standard errors of each image's mean over the pairs). The sign
test is two-sided. "AA's images": RA-PGD on the images that AutoAttack ran on. The last table has the one trial that ran
on another processor, every 8th step at eps 8 with seed 2, less "none" of either processor.
"""

import sys
from math import sqrt
from pathlib import Path

import numpy as np
from compare import Masks, Records, above, blocks, finished, masks
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import table

HERE = Path(__file__).parent
CONTROLS = {16: "eps16-not-compiled", 8: "eps8-other-processor"}
EPS = (16, 8)
Arms = dict[str, Records]


def main() -> None:
    """Print the tables."""
    print(tables())


def tables() -> str:
    """Return the four tables."""
    arms = {eps: measured(eps) for eps in EPS}
    return "\n\n".join((pairs(arms), without_c1(arms), changed(arms), other_processor(arms[8])))


def measured(eps: int) -> Arms:
    """Return the arms at a budget, with its control."""
    return finished(HERE / f"eps{eps}") | {"rounding": finished(HERE / CONTROLS[eps])["none"]}


def gains(arms: Arms, name: str, attack: str, images: int | None = None) -> Masks:
    """Return (seeds, images), 100 x (robust with the arm less robust with "none")."""
    seeds = sorted(arms[name].keys() & arms["none"].keys())
    mine, base = (masks({seed: arms[each][seed] for seed in seeds}, attack) for each in (name, "none"))
    return (mine - base)[:, :images]


def pairs(arms: dict[int, Arms]) -> str:
    """Return the differences by pair, their mean, its intervals and the sign test."""
    heads = ["arm less none, points", "eps 16: seeds 0, 1, 2", "eps 8: seeds 0, 1, 2"]
    heads += ["mean of six", "over pairs", "over images", "sign test, p"]
    rows: list[list[object]] = []
    for name in ("c0.1", "c0.1-every8"):
        for label, attack, images in (
            ("RA-PGD", "pgd", None),
            ("RA-PGD, AA's images", "pgd", 500),
            ("RA-AA", "aa", None),
        ):
            found = [gains(arms[eps], name, attack, images) for eps in EPS]
            by_seed = [", ".join(f"{each:+.2f}" for each in gain.mean(1)) for gain in found]
            rows.append([f"{name}, {label}", *by_seed, *summary(np.concatenate(found))])
    return table(heads, rows)


def summary(found: Masks) -> list[str]:
    """Return the mean over the pairs, half of its 95 % intervals, and the p of the sign test."""
    by_pair, n = found.mean(1), found.shape[0]
    pairs_half = stats.t.ppf(0.975, n - 1) * by_pair.std(ddof=1) / sqrt(n)
    images_half = 1.960 * found.mean(0).std(ddof=1) / sqrt(found.shape[1])
    up, down = int((by_pair > 0).sum()), int((by_pair < 0).sum())
    p = stats.binomtest(up, up + down).pvalue
    return [f"{by_pair.mean():+.2f}", f"± {pairs_half:.2f}", f"± {images_half:.2f}", f"{p:.2f}"]


def without_c1(arms: dict[int, Arms]) -> str:
    """Return the interval of c = 0.1 with the arm c = 1 in the blocks, and without."""
    rows = []
    for eps, own in arms.items():
        fewer = {name: records for name, records in own.items() if name != "c1"}
        for label, attack in (("RA-PGD", "pgd"), ("RA-AA", "aa")):
            both = [above("c0.1", each, attack) for each in (own, fewer)]
            degrees = [found[1] for each in (own, fewer) if (found := blocks(each, attack))]
            cells = [f"± {each['both']:.2f} ({degree})" for each, degree in zip(both, degrees, strict=True)]
            rows.append([eps, label, f"{both[0]['above_none']:+.2f}", *cells])
    return table(["eps", "c = 0.1 less none", "points", "interval (degrees of freedom)", "without c = 1"], rows)


def changed(arms: dict[int, Arms]) -> str:
    """Return on how many images an arm and "none" are not both right or both wrong, by seed."""
    rows = []
    for eps, own in arms.items():
        for name in ("c0.1", "c0.1-every8", "c1", "rounding"):
            parts = [(gains(own, name, attack) != 0).mean(1) for attack in ("clean", "pgd", "aa")]
            label = CONTROLS[eps] if name == "rounding" else name
            rows.append([eps, label, *(", ".join(f"{100 * each:.1f}" for each in part) for part in parts)])
    return table(["eps", "arm", "SA: images changed by seed, %", "RA-PGD", "RA-AA"], rows)


def other_processor(arms: Arms) -> str:
    """Return every 8th step with seed 2 less "none" of both processors."""
    heads = ["every 8th, seed 2, less none of", "SA", "RA-PGD", "RA-AA"]
    trial, rows = {2: arms["c0.1-every8"][2]}, []
    for label, base in (("the first processor", arms["none"]), ("its own processor", arms["rounding"])):
        pair = {"none": {2: base[2]}, "trial": trial}
        rows.append([label, *(f"{gains(pair, 'trial', attack).mean():+.2f}" for attack in ("clean", "pgd", "aa"))])
    return table(heads, rows)


if __name__ == "__main__":
    main()
