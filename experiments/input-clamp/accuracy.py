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

from fastbat.audit import Origin
from fastbat.audit.subject import opened
from fastbat.evaluation import Plan, correct, frozen
from fastbat.evaluation.attacked import AttackedModel, TestImages
from fastbat.evaluation.interval import difference
from fastbat.evaluation.measures import robust

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import machine


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
    bare, clamped = subject.model, nn.Sequential(Clamp(), subject.model)
    exact = AttackedModel(clamped, clamped, clamped)  # attacks climb the model itself
    arms = {"bare": AttackedModel.of(bare), "clamp": AttackedModel.of(clamped), "clamp, exact": exact}
    eps, images = subject.trained_eps(), TestImages.of(x, y, bare)
    plan = Plan(eps, len(subject.test.classes), 0, args.pgd_steps, args.pgd_restarts)
    made = list[dict[str, object]]()
    with frozen(bare, clamped):
        clean = correct(bare, images)
        for name in args.attacks.split(","):
            left = {arm: robust(model, images, clean, plan.rounds(name), eps) for arm, model in arms.items()}
            about = {"run": run.name, "eps_255": round(255 * eps, 6), "attack": name}
            row: dict[str, object] = {**about, "n": len(y), "clean": int(clean.sum())}
            for arm, mask in left.items():
                more, less = int((mask & ~left["bare"]).sum()), int((left["bare"] & ~mask).sum())
                row[arm] = int(mask.sum())
                row[f"{arm}, less bare"] = [round(value, 2) for value in difference(more, less, len(y))]
            print(row, flush=True)
            made.append(row)
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
