"""Does the fast step train as robust a network as the released one? Four trainings, compared on the same test images.

    python experiments/fast-step-accuracy/measure.py --data-dir DIR --out FOLDER
    python experiments/fast-step-accuracy/measure.py --data-dir DIR --out FOLDER --arms released   # one arm alone

"released" (../released.py, float32) against FAST-BAT in bf16: exact by the tangent, every 8th step, without the term.
All have the same schedule, seed and start. The last weights are attacked by PGD-20 from one start on all test images.
Printed are the accuracies, and the difference to "released" with its paired 95 % interval. That interval is over the
draw of the images, not over seeds: networks of one method and two seeds can differ by more. PGD-20 from one start is
weaker than PGD-50-10. An arm that was interrupted resumes.
"""

import argparse
import sys
from pathlib import Path

from fastbat.audit import evaluate_target
from fastbat.evaluation import paired
from fastbat.files import read_records
from fastbat.methods import FastBAT, Method
from fastbat.training import Run, Settings, train

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import publish
from released import Released


def main() -> None:
    """Train and measure the arms, and say how they compare once all are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", default="released,exact,every8,none")
    parser.add_argument("--eps", type=float, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--limit", type=int, default=10_000, help="test images")
    parser.add_argument("--pgd-steps", type=int, default=20)
    parser.add_argument("--pgd-restarts", type=int, default=1)
    args = parser.parse_args()
    methods = every_arm(args.eps / 255)
    for name in args.arms.split(","):
        measure(name, methods[name], args)
    if all(read_records(Run(args.out / name).evaluations) for name in methods):
        about = {"eps_255": args.eps, "epochs": args.epochs, "width": args.width}
        title = f"PreActResNet-18, width {args.width}, eps {args.eps:g}/255, {args.epochs} epochs"
        publish(title, [row(name, args.out) for name in methods], args.out / "accuracy.json", **about)


def every_arm(eps: float) -> dict[str, Method]:
    """Return the methods by name."""
    exact = {"ig_mode": "tangent"}
    ours = {"exact": exact, "every8": exact | {"ig_every": 8}, "none": {"ig_mode": "none"}}
    return {"released": Released(eps)} | {name: FastBAT(eps, **how) for name, how in ours.items()}  # type: ignore[arg-type]


def measure(name: str, method: Method, args: argparse.Namespace) -> None:
    """Train and evaluate one arm, unless it was."""
    run = Run(args.out / name)
    precision = "float32" if name == "released" else "bf16"
    settings = Settings(
        "cifar10", args.data_dir, model="preactresnet18", width=args.width, epochs=args.epochs, precision=precision
    )
    train(method, settings, run.path, resume=run.config.exists())
    if not read_records(run.evaluations):
        steps, restarts = args.pgd_steps, args.pgd_restarts
        evaluate_target(
            run.path, "last", data_dir=args.data_dir, limit=args.limit, pgd_steps=steps, pgd_restarts=restarts
        )


def row(name: str, folder: Path) -> dict[str, object]:
    """Return the figures of one arm beside those of the released step."""
    found, base = (read_records(Run(folder / each).evaluations)[-1] for each in (name, "released"))
    for key in ("label", "n"):
        if [each[key] for each in found["accuracies"]] != [each[key] for each in base["accuracies"]]:
            raise SystemExit(f"{name} and released were not attacked alike; remove {folder / name}/evaluation.jsonl")
    line: dict[str, object] = {"arm": name, "n": found["n"], "attack": found["accuracies"][1]["label"]}
    for mine, theirs in zip(found["accuracies"], base["accuracies"], strict=True):
        line[mine["attack"]] = mine["percent"]
        difference = paired(mine["mask"], theirs["mask"], mine["n"])
        line[f"{mine['attack']}_less_released"] = [round(value, 2) for value in difference]
    return line


if __name__ == "__main__":
    main()
