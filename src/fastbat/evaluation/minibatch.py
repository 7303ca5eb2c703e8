"""The gradient of an update from a mini-batch beside that of all images: its bias and its variance (App. E).

    g(b)      what a method's losses leave in the weights, from b of the N images drawn without replacement
    beta(b) = E g(b) - g                                        Eq. 31, g the gradient of all images that is analysed
    var(b)  = E |g(b) - E g(b)|^2 = sigma^2 (1 + |g|^2)         Eq. 32

The network is in eval mode and an image has the same random starts every time, so that g(b) is the mean over its images
of functions of them: var(b) = S^2 / b (N - b) / (N - 1), S^2 their variance over the images, and g(N) is certain.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastbat.data import Batch
from fastbat.progress import bar
from fastbat.randomness import generator, starts_fixed
from fastbat.runtime.modes import eval_mode
from fastbat.runtime.precision import ieee_float32

Losses = Callable[[nn.Module, Batch], Iterable[Tensor]]  # as of a method: their gradients add up to an update


@dataclass(frozen=True)
class Gradient:
    """The gradient of a method's losses, as a function of images and of the weights that the model has."""

    losses: Losses
    model: nn.Module
    x: Tensor  # (N, C, H, W) in [0, 1]
    y: Tensor  # (N,)
    seed: int = 0  # of the images' starts
    batch_size: int = 250  # images at a time; it changes nothing but rounding

    def __call__(self, index: Tensor) -> Tensor:
        """Return the gradient (weights,), float64, of the mean over the images at `index` (b,)."""
        weights = weights_of(self.model)
        total = torch.zeros(sum(map(torch.Tensor.numel, weights)), dtype=torch.float64, device=weights[0].device)
        with eval_mode(self.model), ieee_float32(), torch.enable_grad():
            for part in index.split(self.batch_size):
                total += len(part) / len(index) * self.of_part(part, weights)
        return total

    def of_part(self, index: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return the gradient of a few images, of a model in eval mode."""
        place = index.to(self.x.device)
        for weight in weights:
            weight.grad = None
        with starts_fixed(index, self.seed, "starts"):
            for loss in self.losses(self.model, Batch(self.x[place], self.y[place], index, step=0, progress=0.0)):
                loss.backward()
        found = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        for weight in weights:
            weight.grad = None
        return torch.cat([each.flatten().double() for each in found])

    def of_all(self) -> Tensor:
        """Return the gradient of the mean over all images."""
        return self(torch.arange(len(self.y)))


def weights_of(model: nn.Module) -> list[Tensor]:
    """Return the weights that are trained."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def bias_and_variance(
    gradients: Mapping[str, Gradient], analysed: Tensor, sizes: Sequence[int], draws: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Return, by name and size, how the gradient of a mini-batch differs from `analysed` (weights,).

    Args:
        gradients: by name, all of the same images.
        analysed: g.
        sizes: b, each at most N.
        draws: mini-batches of each size, at least 2; the same for every name.
        seed: of which images they are.

    Returns:
        Rows with name `of`, size `b`, |g| as `gradient`; `bias`, |mean g(b) - g|, and `bias_error`, what it would be in
        the mean (its root mean square) without bias; `variance`, unbiased, and `sigma2` of Eq. 32.
    """
    rows, square = [], float(analysed @ analysed)
    with bar(name := "gradients of mini-batches") as show:
        for i, (of, gradient) in enumerate(gradients.items()):
            for j, b in enumerate(sizes):
                show((i * len(sizes) + j) / (len(gradients) * len(sizes)), f"{name}: {of}, {b} images")
                mean, variance = moments(drawn(gradient, b, draws, seed), analysed)
                rows.append({
                    "of": of, "b": b, "n": len(gradient.y), "draws": draws, "gradient": math.sqrt(square),
                    "bias": float(mean.norm()), "bias_error": math.sqrt(variance / draws),
                    "variance": variance, "sigma2": variance / (1 + square),
                })  # fmt: skip
    return rows


def drawn(gradient: Gradient, b: int, draws: int, seed: int) -> Iterable[Tensor]:
    """Yield the gradients of `draws` mini-batches of b images, each without replacement."""
    n = len(gradient.y)
    for draw in range(draws):
        yield gradient(torch.from_numpy(generator(seed, "mini-batch", b, draw).choice(n, b, replace=False)))


def moments(vectors: Iterable[Tensor], middle: Tensor) -> tuple[Tensor, float]:
    """Return the mean of two vectors or more less `middle`, and their variance, the trace of the covariance."""
    total, squares, count = torch.zeros_like(middle), 0.0, 0
    for vector in vectors:
        total += (off := vector - middle)
        squares += float(off @ off)
        count += 1
    return total / count, max(0.0, squares - float(total @ total) / count) / (count - 1)
