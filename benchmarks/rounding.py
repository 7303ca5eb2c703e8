"""What bf16 leaves of FAST-BAT's implicit term: its gradient, and the loss's, in bf16 against float32.

    python benchmarks/rounding.py RUN --data-dir DIR

For a trained network (a run's last weights), at eps 8 and 16, on augmented batches of CIFAR-10's training images: the
cosine of the term's gradient in bf16 with that in float32, the same of the gradient of L(d*), and the norm of the term
(c = 1) in units of that of L(d*). Noise and batch are the same in both; d* is each precision's own.
"""

import argparse
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from fastbat.data import Batch, Loader, load
from fastbat.methods import FastBAT, Method
from fastbat.models import load_model
from fastbat.precision import Autocast
from fastbat.training import Run


def main() -> None:
    """Print a line a batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=3)
    args = parser.parse_args()
    loader = Loader(load("cifar10", args.data_dir).train, 128, 0, 4, True)
    for eps in (8, 16):
        none, tangent = FastBAT(eps / 255, ig_mode="none"), FastBAT(eps / 255, ig_mode="tangent", ig_weight=1.0)
        for i, batch in enumerate(islice(loader.epoch(0), args.batches)):
            loss, term = [], []
            for low in (False, True):
                model = load_model(Run(args.run).weights("last"))[0].train()
                net = Autocast(model) if low else model
                loss.append(gradient(none, model, net, batch, i))
                term.append(gradient(tangent, model, net, batch, i) - loss[-1])
            cosines = (torch.cosine_similarity(*pair, 0).item() for pair in (term, loss))
            shares = (f"{(t.norm() / g.norm()).item():.4f}" for t, g in zip(term, loss, strict=True))
            print(
                f"eps {eps}, batch {i}: cosine of the term {next(cosines):.3f}, of the loss {next(cosines):.4f};",
                end=" ",
            )
            print(f"share of the term {next(shares)} in float32, {next(shares)} in bf16")


def gradient(method: Method, model: nn.Module, net: nn.Module, batch: Batch, seed: int) -> Tensor:
    """Return the gradient of one update, flat; BatchNorm's statistics move, and are not read in train mode."""
    model.zero_grad()
    torch.manual_seed(seed)
    for loss in method.losses(net, batch):
        loss.backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


if __name__ == "__main__":
    main()
