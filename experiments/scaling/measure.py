"""How a step scales with the threads and with the images of a batch.

    python experiments/scaling/measure.py
    python experiments/scaling/measure.py --width 64 --batch-sizes 32,64

PreActResNet-18 as fastbat trains it, random images. The arms are interleaved, after one round to warm up. Nothing else
should run. Printed are the median, the quartiles, images/s, and images/s over the same method's with the fewest threads
and the smallest batch.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch

from fastbat.data import Batch
from fastbat.methods import METHODS, FastBAT, Method

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import figures, interleaved, parser, publish, ratio
from updates import fast, training

EPS = 8 / 255
METHOD: dict[str, Method] = {
    "fast-at": METHODS["fast-at"](eps=EPS),
    "fast-bat, none": FastBAT(EPS, ig_mode="none"),
    "fast-bat, tangent": FastBAT(EPS, ig_mode="tangent"),
}
Arm = tuple[str, int, int]  # method, threads, images


def main() -> None:
    """Time the arms and print what they took."""
    flags = parser(__doc__, rounds=5)
    flags.add_argument("--width", type=int, default=16)
    flags.add_argument("--threads", default=",".join(map(str, sorted({1, torch.get_num_threads()}))))
    flags.add_argument("--batch-sizes", default="32,64,128,256,512")
    args = flags.parse_args()
    torch.manual_seed(0)
    device = args.device
    numbers, sizes = ([int(each) for each in given.split(",")] for given in (args.threads, args.batch_sizes))
    arms: dict[Arm, Callable[[], None]] = {}
    for size in sizes:
        batch = Batch(torch.rand(size, 3, 32, 32, device=device), torch.randint(10, (size,), device=device))
        for name, method in METHOD.items():
            step = training(fast(args.width, method, device), method, batch)
            arms |= {(name, threads, size): partial(on, threads, step) for threads in numbers}
    seconds = interleaved(arms, args.rounds, device)
    rows = [row(arm, seconds[arm], (numbers[0], sizes[0]), seconds) for arm in arms]
    about = {"width": args.width, "rounds": args.rounds, "device": str(device)}
    publish(f"PreActResNet-18, width {args.width}", rows, args.out, **about)


def on(threads: int, step: Callable[[], None]) -> None:
    """Run `step` on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    step()
    torch.set_num_threads(before)


def row(arm: Arm, own: list[float], least: tuple[int, int], seconds: dict[Arm, list[float]]) -> dict[str, object]:
    """Return the figures of one arm; the last compares images/s with the `least` threads and images."""
    name, threads, size = arm
    return {
        "method": name,
        "threads": threads,
        "batch": size,
        **figures(own),
        "images_per_second": round(size / median(own)),
        "over_first": round(size / least[1] * ratio(seconds[name, *least], own), 2),
    }


if __name__ == "__main__":
    main()
