"""How often does an honest network lose its gradient at pixels of 0 and 1? The share behind the flag border-gradients.

    python experiments/input-clamp/border.py RUN RUN ... --out border.json

As in an evaluation, random corners of the eps box around the first 250 test images are looked at, at the run's budget.
An image counts if more than half of its pixels at exactly 0 or 1 have no gradient, twice as often as other pixels.
The same network behind a clamp and behind a ReLU shows what the flag is for.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import nn

from fastbat.audit import Origin
from fastbat.audit.subject import opened
from fastbat.evaluation import frozen
from fastbat.evaluation.attacked import AttackedModel
from fastbat.evaluation.border import border_gradients
from fastbat.evaluation.flags import of_border
from fastbat.randomness import seed_torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from accuracy import Clamp

from machine import machine

IMAGES = 250


def main() -> None:
    """Look at the runs and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found = [row for run in args.runs for row in rows(run)]
    args.out.write_text(json.dumps({**machine(), "arms": found}, indent=1) + "\n")


def rows(run: Path) -> list[dict[str, object]]:
    """Return what is found of a run, bare and behind a clamp and a ReLU."""
    subject = opened(str(run), Origin(), "best", None)
    x, y = subject.test.slice(0, IMAGES).tensors()
    fronts = {"bare": nn.Identity(), "clamp": Clamp(), "relu": nn.ReLU()}
    made = list[dict[str, object]]()
    for front, layer in fronts.items():
        model = nn.Sequential(layer, subject.model)
        with frozen(model):
            seed_torch(0, "flags")
            border = border_gradients(AttackedModel.of(model), x, y, subject.trained_eps())
        shares = {name: round(getattr(border, name), 6) for name in ("without", "inside", "climbed", "others")}
        images = {"images": len(border.lost), "lost": int(border.lost.sum()), "flag": bool(of_border(border))}
        made.append({"run": run.name, "front": front, **images, **shares})
        print(made[-1], flush=True)
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
