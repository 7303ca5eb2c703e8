"""What a step takes as it is, and replayed whole from a CUDA graph: medians of 20, at widths 16 and 64.

python experiments/training-step-gpu/cuda_graph.py
"""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from fastbat.data.batch import Batch
from fastbat.methods import METHODS, FastBAT

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from updates import MODES, fast, training


def main() -> None:
    """Print both for some methods, at widths 16 and 64."""
    if not torch.cuda.is_available():
        sys.exit("CUDA graphs need a GPU, and torch finds none here; run this on a machine with one")
    device, eps = torch.device("cuda"), 8 / 255
    batch = Batch(torch.rand(128, 3, 32, 32, device=device), torch.randint(10, (128,), device=device))
    methods = {"fast-at": METHODS["fast-at"](eps)}
    methods |= {name: FastBAT(eps, ig_mode=mode) for name, mode in MODES.items()}  # type: ignore[arg-type]
    for width in (16, 64):
        for compiled in (False, True):
            for name, method in methods.items():
                if compiled and name == "double":
                    continue
                step = training(fast(width, method, device, compiled), method, batch)
                for _ in range(3):
                    step()
                as_it_is, graph = ms(step), captured(step)
                print(f"width {width}, {name}{' compiled' * compiled}: {as_it_is:.2f} ms, captured {ms(graph):.2f} ms")


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Return the replay of `step`."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def ms(run: Callable[[], None]) -> float:
    """Return the median of 20."""
    taken = []
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        taken.append(start.elapsed_time(end))
    return median(taken)


if __name__ == "__main__":
    main()
