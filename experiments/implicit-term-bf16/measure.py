"""What bf16 leaves of FAST-BAT's implicit term: its gradient and the loss's, in bf16 against float32.

    python experiments/implicit-term-bf16/measure.py RUN --data-dir DIR

For a run's last weights, at eps 8 and 16, on augmented batches of CIFAR-10's training images, in bf16 and in bf16
compiled. Printed are the norm of the term's gradient (c = 1, by the tangent) over that of the loss L(d*), the cosine
between the two, and the cosine of each with its own in float32. Noise and batch are the same in all; each has its own
d*.
"""

import argparse
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from fastbat.data import Batch, Loader, load
from fastbat.methods import FastBAT
from fastbat.models import load_model
from fastbat.runtime.precision import Autocast
from fastbat.training import Run
from fastbat.training.compile import Compiled


def main() -> None:
    """Print a line a batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=3)
    args = parser.parse_args()
    loader = Loader(load("cifar10", args.data_dir).train, 128, 0, 4, True)
    model = load_model(Run(args.run).weights("last"))[0].train().to(memory_format=torch.channels_last)
    nets = {"float32": model, "bf16": Autocast(model), "bf16 compiled": Autocast(Compiled(model))}
    for eps in (8, 16):
        method = FastBAT(eps / 255, ig_mode="tangent", ig_weight=1.0)
        for i, batch in enumerate(islice(loader.epoch(0), args.batches)):
            found = {name: gradients(method, net, batch, i) for name, net in nets.items()}
            for name, (loss, term) in found.items():
                cosines = [
                    torch.cosine_similarity(*pair, 0) for pair in zip(found["float32"], (loss, term), strict=True)
                ]
                print(
                    f"eps {eps}, batch {i}, {name}: share of the term {term.norm() / loss.norm():.4f}, its cosine "
                    f"with the loss's {torch.cosine_similarity(term, loss, 0):.3f}; to float32: "
                    f"cosine of the loss {cosines[0]:.4f}, of the term {cosines[1]:.3f}"
                )


def gradients(method: FastBAT, net: nn.Module, batch: Batch, seed: int) -> list[Tensor]:
    """Return the gradients of L(d*) and of the term, flat; BatchNorm's statistics move, and are not read here."""
    torch.manual_seed(seed)
    found = []
    for loss in method.losses(net, batch):
        net.zero_grad()
        loss.backward()
        found.append(torch.cat([weight.grad.flatten() for weight in net.parameters() if weight.grad is not None]))
    return found


if __name__ == "__main__":
    main()
