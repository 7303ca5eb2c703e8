"""How the gradient decays over T steps of plain SGD at a constant rate (App. E, Eqs. 41, 42).

    theta <- theta - alpha g(b)        M(T) = 1/T sum_t |g_t|^2        g_t the gradient of all images that is analysed

The theorem bounds M(T) by O(1/sqrt(T)) with alpha = 1/sqrt(T), but for the bias of g(b), and by O(1/T) with all images
and alpha = 1/(8L), L the Lipschitz constant of the gradient.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from fastbat.evaluation.minibatch import Gradient, weights_of
from fastbat.progress import bar
from fastbat.randomness import generator

MARKS = 25  # steps at which |g_t|^2 is measured, evenly spread over the T, the first and the last among them
POWER_STEPS = 20
NUDGE = 1e-4  # of the weights, for the derivative of the gradient


def decay(
    update: Gradient, analysed: Gradient, steps: Sequence[int], batch: int, *, rate: float | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """Return a row for each T of `steps`: the mean, first and last |g_t|^2 of T updates from the model's weights.

    Args:
        update: g(b); it has the model of `analysed`, in float64, whose weights are put back.
        analysed: g.
        steps: numbers of updates T.
        batch: b images an update, drawn without replacement; all of them make full gradients.
        rate: alpha; 1/sqrt(T) unless given.
        seed: of which images.

    Returns:
        Rows with T as `steps`, `batch`, `rate`, and `mean_square`, `first`, `last`, all three None where one of the
        gradients was not finite.
    """
    start = flat_weights(analysed)
    try:
        rows = []
        for t in steps:
            alpha = 1 / math.sqrt(t) if rate is None else rate
            put_weights(analysed, start)
            squares = descend(update, analysed, t, batch, alpha, seed)
            found = (None, None, None) if squares is None else (sum(squares) / len(squares), squares[0], squares[-1])
            numbers = dict(zip(("mean_square", "first", "last"), found, strict=True))
            rows.append({"steps": t, "batch": batch, "rate": alpha, **numbers})
        return rows
    finally:
        put_weights(analysed, start)


def descend(update: Gradient, analysed: Gradient, steps: int, batch: int, rate: float, seed: int) -> list[float] | None:
    """Make `steps` updates; return |g_t|^2 before those that are marked, None where one is not finite."""
    n, squares, marks, weights = len(analysed.y), list[float](), marks_of(steps), flat_weights(analysed)
    with bar(name := f"{steps} updates of {batch} images") as show:
        for step in range(steps):
            show(step / steps, name)
            if step in marks:
                square = float(analysed.of_all().square().sum())
                if not math.isfinite(square):
                    return None
                squares.append(square)
            index = torch.from_numpy(generator(seed, "update", step).choice(n, batch, replace=False))
            weights = weights - rate * update(index)
            put_weights(analysed, weights)
    return squares


def marks_of(steps: int) -> set[int]:
    """Return the steps of so many that are measured."""
    return {round(i * (steps - 1) / (MARKS - 1)) for i in range(MARKS)}


def lipschitz(gradient: Gradient, seed: int = 0) -> float:
    """Return L at the model's weights: the largest |eigenvalue| of the gradient's derivative, by power iteration."""
    start = flat_weights(gradient)
    v = torch.from_numpy(generator(seed, "power").standard_normal(len(start))).to(start)
    try:
        for _ in range(POWER_STEPS):
            v = v / v.norm()
            ends = []
            for sign in (1, -1):
                put_weights(gradient, start + sign * NUDGE * v)
                ends.append(gradient.of_all())
            v = (ends[0] - ends[1]) / (2 * NUDGE)
    finally:
        put_weights(gradient, start)
    return float(v.norm())


def flat_weights(gradient: Gradient) -> Tensor:
    """Return the weights of a gradient's model as a vector."""
    return parameters_to_vector(weights_of(gradient.model)).detach().clone()


def put_weights(gradient: Gradient, weights: Tensor) -> None:
    """Write a vector into the weights of a gradient's model."""
    with torch.no_grad():
        vector_to_parameters(weights.to(weights_of(gradient.model)[0]), weights_of(gradient.model))
