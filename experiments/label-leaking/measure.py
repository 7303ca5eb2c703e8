"""Does a network read the label off the attack it was trained with? Label leaking (Kurakin et al., 2017).

    python experiments/label-leaking/measure.py RUN [RUN ...] --data-dir DIR [--out FILE.json]

For the last weights of each run, with batch statistics as in training, on the first test images, in percent:

clean, attacked   accuracy without an attack, and under the method's own attack (FAST-BAT: d*, Eq. 8)
clean, other      how often another label, drawn at random, is predicted without an attack
led               the attack is made for that other label: how often the image's own label and the other are predicted
moved             the image carries the perturbation of an image of another class: how often its own label and that of
                  the other image are predicted

A network that looks at the image is hurt by the attack, and predicts the other label by mistake alone. One that
predicts it leads the attack to what it takes for that label. If the perturbation carries its label to another image,
the label is in the perturbation. FREE-AT starts from the clean image, YOPO from a random one. ATTA, whose attack
belongs to an image, is refused. "active" is printed for methods that report it.
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastbat.data import Batch, load
from fastbat.methods import METHODS, Method
from fastbat.models import load_model
from fastbat.randomness import seed_torch
from fastbat.tangent import Dual
from fastbat.training import Run
from fastbat.training.settings import effective

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import publish

AT_ONCE = 128


def main() -> None:
    """Print a row a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories")
    parser.add_argument("--data-dir", type=Path, help="folder of the data set that the runs name")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args()
    rows = [{"run": path.name, **look(Run(path), args.data_dir, args.images)} for path in args.runs]
    publish("Accuracy in percent, under the training's own attack", rows, args.out, images=args.images)


def look(run: Run, data_dir: Path | None, images: int) -> dict[str, float]:
    """Return the shares of `run`."""
    config = effective(run.read_config())
    test = load(config["dataset"], data_dir).test
    x, y = test.slice(0, images).tensors()
    model, method, n = load_model(run.weights("last"))[0].train(), method_of(config), len(test.classes)
    seed_torch(0, "leaking")
    other = (y + torch.randint(1, n, y.shape)) % n
    (own, active), (led, _) = (attacked(method, model, x, label) for label in (y, other))
    moved, label = (own - x).roll(1, 0), y.roll(1)
    apart = label != y
    clean, under, astray, carried = (named(model, each) for each in (x, own, led, (x + moved).clamp(0, 1)))
    hits = {
        "clean": clean == y,
        "clean, other": clean == other,
        "attacked": under == y,
        "led, own": astray == y,
        "led, other": astray == other,
        "moved, own": (carried == y)[apart],
        "moved, other": (carried == label)[apart],
    }
    return {name: round(100 * hit.float().mean().item(), 1) for name, hit in hits.items()} | active


def method_of(config: dict[str, Any]) -> Method:
    """Return the method of a config.toml."""
    made = METHODS[config["method"]]
    own = {f.name: config[f.name] for f in fields(made) if f.init and f.name in config}  # type: ignore[arg-type]
    return made(**{**own, "eps": config["eps"] / 255})


def attacked(method: Method, model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, int]]:
    """Return the images that the method's first loss for the labels y is of, and the active constraints in percent.

    They are the last images that it shows the network; the constraints are those of the last batch.
    """
    shown, found = dict[str, Tensor](), list[Tensor]()

    def see(_: nn.Module, given: tuple[Tensor | Dual, ...]) -> None:
        if isinstance(given[0], Tensor):  # a tangent's pass shows no other image
            shown["last"] = given[0].detach()

    with model.register_forward_pre_hook(see):
        for some, labels in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True):
            batch = Batch(some, labels)
            next(iter(method.losses(model, batch)))
            found.append(shown["last"])
    active = {name: round(100 * float(share)) for name, share in batch.log.items() if name == "active"}
    return torch.cat(found), active


def named(model: nn.Module, x: Tensor) -> Tensor:
    """Return the class that `model` names for each image of x (N, C, H, W)."""
    with torch.no_grad():
        return torch.cat([model(some).argmax(1) for some in x.split(AT_ONCE)])


if __name__ == "__main__":
    main()
