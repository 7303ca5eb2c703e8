"""The loss around an image (Figure 3, after Engstrom et al., 2018): loss(I + s r1 + t r2), CE of the true class.

r1 = sign(grad_I loss(I)), the direction of the one-step attack; r2 is Rademacher: +1 or -1 with even odds. Where the
surface bends within the budget, one step misleads.

    range = max - min over |s|, |t| <= reach,    bend = max |loss(I + s r1 + t r2) - loss(I) - s <g, r1> - t <g, r2>|
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.attacks import input_gradient
from fastbat.randomness import generator
from fastbat.runtime.modes import frozen


def loss_landscape(
    model: nn.Module, image: Tensor, y: int, reach: float, *, points: int = 41, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return the steps s = t (points,) in [-reach, reach] on the [0, 1] scale, and the losses (points, points).

    `image` (C, H, W) lies in [0, 1]; the row is s along r1, the column t along r2, which depends on the seed alone. As
    in the figure the images on the grid are not cut to [0, 1].
    """
    x, label = image[None], torch.tensor([y], device=image.device)
    steps = torch.linspace(-reach, reach, points, dtype=x.dtype, device=x.device)
    t, labels = steps.view(-1, 1, 1, 1), label.expand(points)
    with frozen(model):
        r1, r2 = input_gradient(model, x, label, torch.zeros_like(x)).sign(), random_signs(x, seed)
        with torch.no_grad():
            rows = [F.cross_entropy(model(x + s * r1 + t * r2), labels, reduction="none") for s in steps]
    return steps, torch.stack(rows)


def flatness(
    model: nn.Module, x: Tensor, y: Tensor, reach: float, *, points: int = 5, seed: int = 0, batch_size: int = 250
) -> tuple[Tensor, Tensor]:
    """Return the range and the bend of the loss around each image x (N, C, H, W) in [0, 1], labels y (N,): (N,) each.

    `reach` is on the [0, 1] scale. The landscapes are those of `loss_landscape`, with so many points a side; r2 is the
    same for all images.
    """
    parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
    with frozen(model):
        found = [range_and_bend(model, *part, reach, points, seed) for part in parts]
    ranges, bends = (torch.cat(each) for each in zip(*found, strict=True))
    return ranges, bends


def range_and_bend(
    model: nn.Module, x: Tensor, y: Tensor, reach: float, points: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return range and bend of some images, (B,) each, of a frozen model."""
    steps = torch.linspace(-reach, reach, points, dtype=x.dtype).tolist()
    g = input_gradient(model, x, y, torch.zeros_like(x))
    r1, r2 = g.sign(), random_signs(x, seed)
    slopes = [(g * r).flatten(1).sum(1) for r in (r1, r2)]
    with torch.no_grad():

        def loss(s: float, t: float) -> Tensor:
            return F.cross_entropy(model(x + s * r1 + t * r2), y, reduction="none")

        middle = loss(0, 0)
        above = {(s, t): loss(s, t) - middle for s in steps for t in steps}
    bends = [(rise - s * slopes[0] - t * slopes[1]).abs() for (s, t), rise in above.items()]
    every = torch.stack(list(above.values()))
    return every.amax(0) - every.amin(0), torch.stack(bends).amax(0)


def random_signs(x: Tensor, seed: int) -> Tensor:
    """Return r2 (1, C, H, W) for images x, which depends on the seed alone."""
    signs = generator(seed, "landscape").integers(0, 2, (1, *x.shape[1:]))
    return torch.from_numpy(2 * signs - 1).to(x)
