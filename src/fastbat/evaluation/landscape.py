"""The loss around an image (Figure 3, after Engstrom et al., 2018): loss(I + s r1 + t r2), CE of the true class.

r1 = sign(grad_I loss(I)), the direction of the one-step attack; r2 is Rademacher: +1 or -1 with even odds. Where the
surface bends within the budget, one step misleads.
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
        r1 = input_gradient(model, x, label, torch.zeros_like(x)).sign()
        signs = generator(seed, "landscape").integers(0, 2, x.shape)
        r2 = torch.from_numpy(2 * signs - 1).to(x)
        with torch.no_grad():
            rows = [F.cross_entropy(model(x + s * r1 + t * r2), labels, reduction="none") for s in steps]
    return steps, torch.stack(rows)
