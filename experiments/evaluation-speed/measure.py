"""How fast a robust accuracy is measured, by fastbat and by the loops of the field, and whether they agree.

    python experiments/evaluation-speed/measure.py pgd RUN --data-dir DIR --images 512
    python experiments/evaluation-speed/measure.py autoattack RUN --data-dir DIR --images 256

pgd         RA-PGD-50-10 by fastbat (default precision, and float32), by torchattacks' PGD with 10 restarts (if it is
            installed), and by a plain restart loop: every restart of every image in float32, with weight gradients;
            the restart of highest loss counts. Also that loop with input gradients alone. Published loops that drop
            broken images are faster if few images are robust. torchattacks counts every restart, as fastbat does.
autoattack  RA-AA by fastbat (default precision, and float32) and by pyautoattack, float32, same seed.

The arms run one after another on the same images, `--rounds` times. Nothing else should run. Printed are images/s
(median over the rounds), ratios to the plain arm, the robust accuracies, and on how many images an arm disagrees with
the plain one.
"""

import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat import evaluate, load_model
from fastbat.data import load_test
from fastbat.training import Run

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import publish, ratio

Arm = Callable[[nn.Module, Tensor, Tensor, float], Tensor]  # -> (N,) bool: robust


def main() -> None:
    """Run the arms and print what they took."""
    flags = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    flags.add_argument("what", choices=["pgd", "autoattack"])
    flags.add_argument("run", type=Path, help="run directory; its best weights are attacked")
    flags.add_argument("--data-dir", type=Path)
    flags.add_argument("--images", type=int, default=256)
    flags.add_argument("--eps", type=float, default=8)
    flags.add_argument("--rounds", type=int, default=1)
    flags.add_argument("--out", type=Path, help="JSON file")
    args = flags.parse_args()
    model, about = load_model(Run(args.run).weights("best"))
    x, y = load_test(about["dataset"]["name"], args.data_dir).slice(0, args.images).tensors()
    arms = {name: arm for name, arm in ARMS[args.what].items() if name != "torchattacks" or find_spec(name)}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    robust: dict[str, Tensor] = {}
    for _ in range(args.rounds):
        for name, arm in arms.items():
            start = time.perf_counter()
            robust[name] = arm(model, x, y, args.eps / 255)
            seconds[name].append(time.perf_counter() - start)
            print(f"{name}: {seconds[name][-1]:.1f} s, {int(robust[name].sum())} of {len(y)} robust", flush=True)
    rows = [row(name, seconds, robust, len(y)) for name in arms]
    about = {"what": args.what, "eps_255": args.eps, "images": len(y), "model": about["model"]}
    publish(f"{args.what}, {len(y)} images", rows, args.out, **about)


def ours(attack: str, precision: str) -> Arm:
    """Return fastbat's own arm; its seconds hold the red flags, too."""

    def arm(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        found = evaluate(model, (x, y), eps=eps, attacks=["clean", attack], precision=precision)[attack]  # type: ignore[arg-type]
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(found.mask), np.uint8))[: found.n]
        return torch.from_numpy(bits).bool()

    return arm


def plain_pgd(weights: bool) -> Arm:
    """Return the restart loop of published code; with `weights` their gradients are computed along, as it does."""

    def arm(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        model.eval().requires_grad_(weights)
        torch.manual_seed(0)
        parts = zip(x.split(128), y.split(128), strict=True)
        return torch.cat([loop(model, *part, eps) for part in parts])

    return arm


def loop(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return which images of a batch withstand the restart of highest loss."""
    highest, worst = torch.zeros(len(y)), torch.zeros_like(x)
    for _ in range(10):
        delta = (x + torch.empty_like(x).uniform_(-eps, eps)).clamp(0, 1) - x
        for _ in range(50):
            delta.requires_grad_()
            F.cross_entropy(model(x + delta), y).backward()
            delta = (delta.detach() + eps / 4 * delta.grad.sign()).clamp(-eps, eps)
            delta = (x + delta).clamp(0, 1) - x
            model.zero_grad()
        with torch.no_grad():
            losses = F.cross_entropy(model(x + delta), y, reduction="none")
        higher = losses >= highest
        highest[higher], worst[higher] = losses[higher], delta[higher]
    with torch.no_grad():
        return model(x + worst).argmax(1) == y


def torchattacks_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return which images withstand torchattacks' PGD from 10 random starts."""
    import torchattacks

    model.eval().requires_grad_(True)
    torch.manual_seed(0)
    attack = torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=50, random_start=True)
    found = []
    for xb, yb in zip(x.split(128), y.split(128), strict=True):
        robust = torch.ones(len(yb), dtype=torch.bool)
        for _ in range(10):
            x_adv = attack(xb, yb)
            with torch.no_grad():
                robust &= model(x_adv).argmax(1) == yb
        found.append(robust)
    return torch.cat(found)


def plain_autoattack(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return which images withstand pyautoattack, called as its authors show."""
    model.eval().requires_grad_(True)
    attack = AutoAttack(model, eps=eps, seed=0)
    attack.verbose = False
    _, found = attack.run_standard_evaluation(x, y, batch_size=250)
    return found == y


ARMS: dict[str, dict[str, Arm]] = {
    "pgd": {
        "plain": plain_pgd(weights=True),
        "plain input gradients": plain_pgd(weights=False),
        "torchattacks": torchattacks_pgd,
        "fastbat": ours("pgd", "auto"),
        "fastbat float32": ours("pgd", "float32"),
    },
    "autoattack": {
        "plain": plain_autoattack,
        "fastbat": ours("aa", "auto"),
        "fastbat float32": ours("aa", "float32"),
    },
}


def row(name: str, seconds: dict[str, list[float]], robust: dict[str, Tensor], n: int) -> dict[str, object]:
    """Return the figures of one arm."""
    own = seconds[name]
    return {
        "arm": name,
        "seconds": [round(second, 2) for second in own],
        "images_per_second": round(n / median(own), 3),
        "speedup": ratio(seconds["plain"], own),
        "robust": int(robust[name].sum()),
        "ra": round(100 * robust[name].float().mean().item(), 2),
        "disagree": int((robust[name] != robust["plain"]).sum()),
    }


if __name__ == "__main__":
    main()
