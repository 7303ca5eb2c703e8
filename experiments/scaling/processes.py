"""Two processes with one thread each beside one process with two threads: the images/s of the same update.

    python experiments/scaling/processes.py
    python experiments/scaling/processes.py --width 64 --batch-size 64 --processes 2 --out processes.json

PreActResNet-18 as fastbat trains it, random images, the exchange of the gradients through gloo. The arms are
interleaved: while one runs the other waits, and uses no core. Nothing else should run. Printed are the median, the
quartiles, images/s, and images/s over those of the one process, the median of the rounds' own ratios.
"""

import os
import socket
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch
import torch.multiprocessing as multiprocessing

from fastbat.data import Batch
from fastbat.data.share import Shares
from fastbat.methods import METHODS, FastBAT, Method
from fastbat.runtime.processes import start_processes
from fastbat.training.exchange import shared_gradients

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import figures, interleaved, parser, publish
from updates import fast

EPS = 8 / 255
METHOD: dict[str, Method] = {"fast-at": METHODS["fast-at"](eps=EPS), "fast-bat": FastBAT(EPS)}


def main() -> None:
    """Time the arms and print what they took."""
    flags = parser(__doc__, rounds=10)
    flags.add_argument("--width", type=int, default=16)
    flags.add_argument("--batch-size", type=int, default=128)
    flags.add_argument("--processes", type=int, default=2)
    args = flags.parse_args()
    several, how = args.processes, (args.width, args.batch_size)
    context, port = multiprocessing.get_context("spawn"), free_port()
    pipes = [context.Pipe() for _ in range(several)]
    children = [context.Process(target=serve, args=(i, several, port, pipes[i][1], *how)) for i in range(several)]
    for each in children:
        each.start()
    torch.set_num_threads(several)
    arms: dict[tuple[str, int], Callable[[], object]] = {}
    for name in METHOD:
        arms[name, 1] = update_of(name, 0, 1, *how)
        arms[name, several] = partial(ask, [parent for parent, _ in pipes], name)
    seconds = interleaved(arms, args.rounds, args.device)
    ask([parent for parent, _ in pipes], "")
    rows = [row(name, count, seconds[name, count], seconds[name, 1], args) for name, count in arms]
    about = {"width": args.width, "batch": args.batch_size, "rounds": args.rounds}
    publish(f"PreActResNet-18, width {args.width}, batches of {args.batch_size}", rows, args.out, **about)


def update_of(name: str, rank: int, processes: int, width: int, images: int) -> Callable[[], None]:
    """Return an update by the method `name` on this process's share of a batch."""
    method, device = METHOD[name], torch.device("cpu")
    torch.manual_seed(0)
    model, x, y = fast(width, method, device), torch.rand(images, 3, 32, 32), torch.randint(10, (images,))
    share = Shares(rank, processes).of(torch.arange(images))
    batch = Batch(x[share.place], y[share.place], share=share, step=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True)

    def update() -> None:
        shared_gradients(method, model, batch, 1, (0, "step", 0), ("loss", "active", "term"))
        optimizer.step()
        optimizer.zero_grad()

    return update


def serve(rank: int, processes: int, port: int, pipe: Connection, width: int, images: int) -> None:
    """Make an update, one of several processes, whenever `pipe` names a method; end at an empty name."""
    torch.set_num_threads(1)
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ |= {name: str(value) for name, value in {**places, "MASTER_PORT": port}.items()}
    os.environ["MASTER_ADDR"] = "localhost"
    start_processes()
    updates = {name: update_of(name, rank, processes, width, images) for name in METHOD}
    while name := pipe.recv():
        updates[name]()
        pipe.send(rank)
    pipe.send(rank)


def ask(pipes: list[Connection], name: str) -> None:
    """Let all processes make an update by the method `name`, and wait for them."""
    for pipe in pipes:
        pipe.send(name)
    for pipe in pipes:
        pipe.recv()


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def row(name: str, processes: int, own: list[float], one: list[float], args: object) -> dict[str, object]:
    """Return the figures of one arm; the last compares images/s with those of one process."""
    images, several = vars(args)["batch_size"], vars(args)["processes"]
    return {
        "method": name,
        "processes": processes,
        "threads_each": several // processes,
        **figures(own),
        "images_per_second": round(images / median(own)),
        "over_one_process": round(median(a / b for a, b in zip(one, own, strict=True)), 3),
    }


if __name__ == "__main__":
    main()
