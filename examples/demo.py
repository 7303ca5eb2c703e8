"""Train a robust model and prove it, in two to five minutes: FAST-BAT beside FAST-AT and an undefended network.

Data: scikit-learn's digits (1,797 real 8x8 images, inside the installed package). Budget: 51/255, a fifth of the grey
scale. Every row is trained on the same images and measured on the same 200 held-out ones.
"""

import shutil
import time
from pathlib import Path

import torch

from fastbat import METHODS, Evaluation, Settings, train
from fastbat.audit import diagnose_target, evaluate_target
from fastbat.console import print_rows
from fastbat.progress import say
from fastbat.report import write_report

EPS = 51 / 255
RUNS = Path("runs/demo")


def main() -> None:
    """Train and evaluate the three rows, print the table, leave the run directories and a report behind."""
    torch.set_num_threads(1)  # 8x8 images keep no second core busy, and one thread gives every machine the same weights
    shutil.rmtree(RUNS, ignore_errors=True)
    rows = {name: train_and_evaluate(name) for name in ("standard", "fast-at", "fast-bat")}
    print_table(rows)
    say(f"\nThe runs are in {RUNS}/. Go on with: .venv/bin/fastbat evaluate {RUNS}/fast-bat --eps 64")
    say(f"The report, to open in a browser: {write_report([RUNS], RUNS / 'report.html')}")


def train_and_evaluate(name: str) -> tuple[float, Evaluation]:
    """Return the seconds of training and what the best epoch's weights withstand."""
    say(f"\n{name}")
    start = time.perf_counter()
    run = train(METHODS[name](eps=EPS), Settings(dataset="digits", epochs=30), RUNS / name)
    seconds = time.perf_counter() - start
    measured = evaluate_target(run.path, eps=EPS, attacks=("clean", "pgd", "aa"), limit=200)
    diagnose_target(run.path, run.path / "look", eps=EPS, limit=100)  # for the report: loss landscape, examples
    return seconds, measured


def print_table(rows: dict[str, tuple[float, Evaluation]]) -> None:
    """Print the comparison: accuracies in percent with their 95 % intervals."""
    n = next(iter(rows.values()))[1].n
    print_rows(
        ("method", "SA", "RA-PGD-50-10", "RA-AA", "time"),
        [(name, *map(str, measured.accuracies), f"{seconds:.0f} s") for name, (seconds, measured) in rows.items()],
        title=f"digits, eps 51/255, {n} test images, accuracies in %",
        caption="[low, high]: 95 % interval over the draw of the images. One seed each.",
    )


if __name__ == "__main__":
    main()
