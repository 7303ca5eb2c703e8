"""How a step scales: with the threads, and with the images of a batch.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --width 64 --batch-sizes 32,64

PreActResNet-18 as fastbat trains it, random images. One run, its arms interleaved, after one round to warm up; printed
are median, quartiles, images/s, and that over the same method's with the fewest threads and the smallest batch. Nothing
else should run.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median, quantiles

import torch
from machine import machine, show_arms
from step import fast, training

from fastbat.data import Batch
from fastbat.methods import METHODS, FastBAT, Method
from fastbat.training import pick_device
from fastbat.training.machine import synchronize

EPS = 8 / 255
METHOD: dict[str, Method] = {
    "fast-at": METHODS["fast-at"](eps=EPS),
    "fast-bat, none": FastBAT(EPS, ig_mode="none"),
    "fast-bat, tangent": FastBAT(EPS, ig_mode="tangent"),
}
Arm = tuple[str, int, int]  # method, threads, images


def main() -> None:
    """Time the arms and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", default=",".join(map(str, sorted({1, torch.get_num_threads()}))))
    parser.add_argument("--batch-sizes", default="32,64,128,256,512")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args()
    torch.manual_seed(0)
    device, about = pick_device(args.device), machine()
    numbers, sizes = ([int(each) for each in given.split(",")] for given in (args.threads, args.batch_sizes))
    arms = {(name, threads, size): [] for name in METHOD for threads in numbers for size in sizes}
    steps = {}
    for size in sizes:
        batch = Batch(torch.rand(size, 3, 32, 32, device=device), torch.randint(10, (size,), device=device))
        for name, method in METHOD.items():
            steps[name, size] = training(fast(args.width, method, device), method, batch)
    for i in range(-1, args.rounds):
        for (name, threads, size), seconds in arms.items():
            torch.set_num_threads(threads)
            start = time.perf_counter()
            steps[name, size]()
            synchronize(device)
            if i >= 0:
                seconds.append(time.perf_counter() - start)
    report = {"width": args.width, "rounds": args.rounds, "device": str(device), **about}
    report["arms"] = [row(arm, arms, (arm[0], numbers[0], sizes[0])) for arm in arms]
    show(report)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def row(arm: Arm, arms: dict[Arm, list[float]], base: Arm) -> dict[str, object]:
    """Return the figures of one arm; the ratio is the median of the rounds' own."""
    name, threads, size = arm
    low, _, high = quantiles(arms[arm], n=4)
    faster = median(size / a / (base[2] / b) for a, b in zip(arms[arm], arms[base], strict=True))
    return {
        "method": name,
        "threads": threads,
        "batch": size,
        "ms": round(1000 * median(arms[arm]), 1),
        "quartiles_ms": [round(1000 * low, 1), round(1000 * high, 1)],
        "images_per_second": round(size / median(arms[arm])),
        "over_first": round(faster, 2),
    }


def show(report: dict[str, object]) -> None:
    """Print the table."""
    title = f"PreActResNet-18, width {report['width']}, on {report['machine']}"
    show_arms(title, report["arms"])  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
