"""Does a clamp of the input change a robust accuracy? The same network with and without one, attacked in two ways.

    python experiments/input-clamp/accuracy.py RUN RUN ... --attacks fgsm,pgd,apgd-ce --limit 500 --out accuracy.json

Each run is attacked on its own test images at its own budget, in float32. There are three arms. "bare" is the network.
"clamp" is the network behind `x.clamp(0, 1)`. "clamp, exact" is the same under the attacks as they were before: they
give the model pixels of exactly 0 and 1, where torch's clamp has no gradient. All arms have the same images and starts.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from fastbat.attacks import Inside
from fastbat.audit import Origin
from fastbat.audit.subject import opened
from fastbat.evaluation import Plan, correct, frozen
from fastbat.evaluation.interval import difference
from fastbat.evaluation.measures import attack
from fastbat.randomness import seed_torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import machine

BLOCK = 250  # images attacked at a time


class Clamp(nn.Module):
    """A clamp to [0, 1], which changes no image."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the images."""
        return x.clamp(0, 1)


def main() -> None:
    """Attack the runs and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--attacks", default="fgsm,pgd,apgd-ce")
    parser.add_argument("--pgd-steps", type=int, default=50)
    parser.add_argument("--pgd-restarts", type=int, default=10)
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found = [row for run in args.runs for row in rows(run, args)]
    args.out.write_text(json.dumps({**machine(), "arms": found}, indent=1) + "\n")


def rows(run: Path, args: argparse.Namespace) -> list[dict[str, object]]:
    """Return for each attack how many images withstand it, by arm, with the paired difference to "bare" in points."""
    subject = opened(str(run), Origin(), "best", None)
    x, y = subject.test.slice(0, args.limit).tensors()
    eps, bare, clamped = subject.trained_eps(), subject.model, nn.Sequential(Clamp(), subject.model)
    arms = {"bare": (bare, Inside(bare)), "clamp": (clamped, Inside(clamped)), "clamp, exact": (clamped, clamped)}
    plan = Plan(eps, len(subject.test.classes), 0, args.pgd_steps, args.pgd_restarts)
    made = list[dict[str, object]]()
    with frozen(bare, clamped):
        clean = correct(bare, x, y)
        for name in args.attacks.split(","):
            left = {arm: withstand(*each, x, y, clean, plan, name) for arm, each in arms.items()}
            row = {
                "run": run.name,
                "eps_255": round(255 * eps, 6),
                "attack": name,
                "n": len(y),
                "clean": int(clean.sum()),
            }
            for arm, mask in left.items():
                more, less = int((mask & ~left["bare"]).sum()), int((left["bare"] & ~mask).sum())
                row[arm] = int(mask.sum())
                row[f"{arm}, less bare"] = [round(value, 2) for value in difference(more, less, len(y))]
            print(row, flush=True)
            made.append(row)
    return made


def withstand(
    model: nn.Module, search: nn.Module, x: Tensor, y: Tensor, clean: Tensor, plan: Plan, name: str
) -> Tensor:
    """Return a mask (N,): classified correctly, under the attack `name` on `search` too."""
    left = clean.clone()
    for index in clean.nonzero().flatten().split(BLOCK):
        seed_torch(0, name, int(index[0]))
        broken = attack(model, search, search, x[index], y[index], index, plan.rounds(name), plan.eps).broken
        left[index[broken]] = False
    return left


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
