"""What a training step costs: every method over one forward pass, FAST-BAT over its released form.

    python experiments/training-step/measure.py                    # PreActResNet-18 of width 16, batches of 128
    python experiments/training-step/measure.py --width 64 --batch-size 64
    python experiments/training-step/measure.py --compile          # and the methods that can be compiled, compiled
    python experiments/training-step/measure.py --authors CHECKOUT # and the authors' own code

The arms are interleaved: each round times every arm once, on the same random images. Nothing else should run. Printed
are the median, the quartiles, and three ratios:

over_fast_at      to FAST-AT of the same kind (float32, compiled, or as fastbat trains)
released_over_it  the released form, in float32, to the arm. "released" is ../released.py.
over_passes       to passes x F. F is one forward pass of this run in the arm's precision, in train mode, not compiled.

Passes are those of a perfect step. A forward pass counts 1, a backward pass to the images 1, to images and weights 2. A
tangent's forward pass counts 2 and its backward pass 4. The two more passes of a double backward count 4. "every 8th"
is computed: seven steps without the implicit term and one with it.
"""

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from fastbat.data.batch import Batch, View
from fastbat.methods import METHODS, FastATGA, FastBAT

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import figures, interleaved, parser, publish, ratio
from released import Released
from updates import MODES, Step, fast, plain, training

PASSES = {
    "standard": 3, "fast-at": 5, "n-fgsm": 5, "pgd-2": 7, "pgd-7": 17, "fast-at-ga": 13, "fast-at-ga, double": 11,
    "fgsm-rs-cs": 7, "liet": 7, "fgsm-mep": 7, "tdat": 7, "nuat": 8, "elle-a": 14, "sora": 5, "fgsm-uap": 7,
    "free-at": 3, "yopo": 15, "atta": 8, "backsmooth": 11, "trades": 27, "fast-bat, none": 7, "fast-bat, tangent": 13,
    "fast-bat, double": 11, "fast-bat, every 8th": 7.75,
}  # fmt: skip
KINDS = (" float32", " compiled")  # how an arm runs, if not as fastbat trains; the end of its name


def main() -> None:
    """Time the arms and print what they took."""
    flags = parser(__doc__, rounds=9)
    flags.add_argument("--width", type=int, default=16)
    flags.add_argument("--batch-size", type=int, default=128)
    flags.add_argument("--eps", type=float, default=8)
    flags.add_argument("--compile", action="store_true", help="add the methods that allow it, compiled")
    flags.add_argument("--only", default="", help="arms, each followed by a semicolon; all unless given")
    flags.add_argument("--authors", type=Path, help="checkout of the authors' code")
    args = flags.parse_args()
    device = args.device
    arms = every_arm(args, device)
    only = args.only.strip(";").split(";") if args.only else arms
    if unknown := set(only) - set(arms):
        flags.error(f"no arm {', '.join(sorted(unknown))}; there are {'; '.join(arms)}")
    arms = {name: arms[name] for name in only}
    seconds = interleaved(arms, args.rounds, device)
    for kind in ("", " compiled"):
        without, term = (seconds.get(f"fast-bat, {name}{kind}") for name in ("none", "tangent"))
        if without and term:
            seconds[f"fast-bat, every 8th{kind}"] = [(7 * a + b) / 8 for a, b in zip(without, term, strict=True)]
    about = {name: getattr(args, name) for name in ("rounds", "width", "batch_size")}
    about |= {"eps_255": args.eps, "device": str(device)}
    title = f"PreActResNet-18, width {args.width}, batch {args.batch_size}"
    publish(title, [row(name, seconds) for name in seconds], args.out, **about)


def every_arm(args: Namespace, device: torch.device) -> dict[str, Step]:
    """Return every step to be timed, by "NAME" (as fastbat trains), "NAME compiled" or "NAME float32"."""
    width, size, eps = args.width, args.batch_size, args.eps / 255
    torch.manual_seed(0)
    view = View.draw(np.random.default_rng(0), size, 4, flip=True)
    x, y = torch.rand(size, 3, 32, 32, device=device), torch.randint(10, (size,), device=device)
    batch = Batch(x, y, torch.arange(size), view, step=1, progress=0.5)
    methods = {name: METHODS[name](eps=eps) for name in PASSES if name in METHODS}
    methods["fast-at-ga, double"] = FastATGA(eps, penalty="double")
    methods |= {f"fast-bat, {name}": FastBAT(eps, ig_mode=mode) for name, mode in MODES.items()}  # type: ignore[arg-type]
    standard = METHODS["standard"](eps=0)
    arms: dict[str, Step] = {
        "F": forward(fast(width, standard, device), batch),
        "F float32": forward(plain(width, device), batch),
    }
    for name, method in methods.items():
        arms[name] = training(fast(width, method, device), method, batch)
        if args.compile and not method.traits.differentiates_twice and not method.traits.splits:
            arms[f"{name} compiled"] = training(fast(width, method, device, compiled=True), method, batch)
    arms["fast-at float32"] = training(plain(width, device), METHODS["fast-at"](eps=eps), batch)
    arms["released float32"] = training(plain(width, device), Released(eps), batch)
    if args.authors:
        arms["authors float32"] = the_authors(plain(width, device), batch, eps, args.authors)
    return arms


def forward(model: nn.Module, batch: Batch) -> Step:
    """Return one forward pass that a backward pass could follow."""

    def step() -> None:
        model(batch.x)

    return step


def the_authors(model: nn.Module, batch: Batch, eps: float, checkout: Path) -> Step:
    """Return a step of the authors' trainer, imported from their checkout.

    Their package of attacks begins by importing a copy of torchattacks that today's scipy breaks, and that a step does
    not use: its modules are imported past it.
    """
    sys.path.insert(0, str(checkout))
    sys.modules["attack"] = package = ModuleType("attack")
    package.__path__ = [str(checkout / "attack")]
    from trainer import BatTrainer  # type: ignore[import-not-found]

    model.clear_grad = lambda: model.zero_grad()  # type: ignore[assignment]
    model.with_grad = lambda: model.requires_grad_(True)  # type: ignore[assignment]
    model.no_grad = lambda: model.requires_grad_(False)  # type: ignore[assignment]
    how = {
        "attack_step": 1,
        "attack_eps": eps,
        "attack_lr": FastBAT(eps, lam="released").a,
        "attack_rs": 1,
        "lmbda": 10.0,
    }
    trainer = BatTrainer(Namespace(mode="fast_bat", **how), log=None)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
    loss = nn.CrossEntropyLoss(reduction="sum")

    def step() -> None:
        trainer.train(model, [(batch.x, batch.y)], optimizer, loss, batch.x.device)

    return step


def row(name: str, seconds: dict[str, list[float]]) -> dict[str, object]:
    """Return the figures of one arm; ratios are medians of the rounds' own."""
    kind = next((kind for kind in KINDS if name.endswith(kind)), "")
    passes = PASSES.get(name.removesuffix(kind))

    def over(base: str, own: str = name) -> float | None:
        return ratio(seconds[own], seconds[base]) if {own, base} <= seconds.keys() else None

    forwards = over("F float32" if kind == " float32" else "F")
    return {
        "arm": name,
        **figures(seconds[name]),
        "over_fast_at": over(f"fast-at{kind}"),
        "released_over_it": over(name, own="released float32"),
        "forwards": forwards,
        "passes": passes,
        "over_passes": None if passes is None or forwards is None else round(forwards / passes, 2),
    }


if __name__ == "__main__":
    main()
