"""Bias and variance of the gradient of a mini-batch, and its decay, where both are known in closed form (App. E).

Over all mini-batches of b of N images without replacement the mean of the gradients is that of all images, and their
variance S^2 / b (N - b) / (N - 1), S^2 that over the images. Plain SGD on a quadratic loss contracts geometrically.
"""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fastbat.data import Batch
from fastbat.evaluation.decay import decay, flat_weights, lipschitz, marks_of, put_weights
from fastbat.evaluation.minibatch import Gradient, bias_and_variance, moments
from fastbat.methods import FastBAT, Standard
from fastbat.models import build_model
from fastbat.randomness import starts_fixed

EPS = 40 / 255
N = 5


def digits(n=N, classes=3):
    """Images between black and white."""
    return torch.rand(n, 1, 8, 8, dtype=torch.float64), torch.arange(n) % classes


def smooth(**how):
    """A smooth network in float64, without BatchNorm."""
    return build_model("cnn", width=2, num_classes=3, mean=[0.5], std=[0.3], activation="softplus", **how).double()


def normed():
    """A network with BatchNorm, in train mode, with statistics of its own."""
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(144, 3)]
    net = nn.Sequential(*layers).double()
    net(digits(20)[0])
    return net


def straight():
    """A linear network in float64."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()


def every_batch(gradient, b):
    return [gradient(torch.tensor(index)) for index in combinations(range(N), b)]


@pytest.mark.parametrize("method", [Standard(0.0), FastBAT(EPS), FastBAT(EPS, linearise="corner"),
                                    FastBAT(EPS, ig_mode="hessian-free", attack_objective="kl")])  # fmt: skip
@pytest.mark.parametrize("net", [smooth, normed])
def test_over_all_mini_batches_there_is_no_bias_and_the_variance_of_sampling_without_replacement(method, net):
    gradient = Gradient(method.losses, net(), *digits())
    each = torch.stack(every_batch(gradient, 1))
    g = each.mean(0)
    spread = (each - g).square().sum(1).mean().item()
    assert torch.allclose(gradient.of_all(), g, rtol=1e-9, atol=1e-12)
    for b in (1, 2, 4):
        found = every_batch(gradient, b)
        mean, variance = moments(found, g)
        assert mean.norm().item() < 1e-12 * max(1, g.norm().item())
        assert variance * (len(found) - 1) / len(found) == pytest.approx(spread / b * (N - b) / (N - 1), rel=1e-9)


def test_mini_batches_that_are_drawn_have_the_bias_and_the_variance_of_all_of_them():
    model, (x, y) = straight(), digits(64)
    plain, shifted = Gradient(Standard(0.0).losses, model, x, y), Gradient(with_a_push, model, x, y)
    each = torch.stack([plain(torch.tensor([i])) for i in range(64)])
    g, weights = each.mean(0), flat_weights(plain)
    spread = (each - g).square().sum(1).mean().item()
    rows = bias_and_variance({"plain": plain, "shifted": shifted}, g, [4, 32, 64], 60, seed=3)
    assert [(row["of"], row["b"], row["n"], row["draws"]) for row in rows[:2]] == [
        ("plain", 4, 64, 60),
        ("plain", 32, 64, 60),
    ]
    for row in rows:
        expected = spread / row["b"] * (64 - row["b"]) / 63
        assert row["variance"] == pytest.approx(expected, rel=0.2, abs=1e-15)
        assert row["gradient"] == pytest.approx(g.norm().item())
        assert row["sigma2"] == pytest.approx(row["variance"] / (1 + row["gradient"] ** 2))
        assert row["bias_error"] == pytest.approx(math.sqrt(row["variance"] / 60), abs=1e-9)
        bias = weights.norm().item() if row["of"] == "shifted" else 0  # of 1/2 |theta|^2
        assert abs(row["bias"] - bias) <= 3 * row["bias_error"] + 1e-9


def with_a_push(model, batch):
    """The mean CE, and 1/2 |theta|^2, whatever the batch."""
    yield F.cross_entropy(model(batch.x), batch.y)
    yield sum(weight.square().sum() for weight in model.parameters()) / 2


def test_the_chain_rules_own_weight_makes_the_gradient_of_the_bi_level_objective_and_another_does_not():
    model, (x, y) = smooth(), digits()
    fixed = FastBAT(EPS, lam=0.1, linearise="uniform")
    true, published = (Gradient(replace(fixed, ig_weight=c).losses, model, x, y) for c in (fixed.a, 0.1))
    g, weights = true.of_all(), flat_weights(true)
    v, h = torch.randn_like(g), 1e-5
    ends = []
    for sign in (1, -1):
        put_weights(true, weights + sign * h * v)
        with starts_fixed(torch.arange(N), 0, "starts"):  # L(theta, d*(theta)), each image with its start
            ends.append(next(iter(fixed.losses(model, Batch(x, y)))).item())
    slope = (ends[0] - ends[1]) / (2 * h)
    assert (g @ v).item() == pytest.approx(slope, rel=1e-5)
    assert (published.of_all() @ v).item() != pytest.approx(slope, rel=1e-2)


def test_the_order_and_the_size_of_its_parts_change_nothing():
    gradient = Gradient(FastBAT(EPS).losses, normed(), *digits(6))
    whole = gradient(torch.tensor([5, 0, 3]))
    assert torch.allclose(replace(gradient, batch_size=2)(torch.tensor([3, 5, 0])), whole, rtol=1e-9, atol=1e-13)
    assert not torch.allclose(replace(gradient, seed=1)(torch.tensor([5, 0, 3])), whole, rtol=1e-3)


def test_the_model_is_left_as_it_was():
    net = normed()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    gradient = Gradient(FastBAT(EPS).losses, net, *digits())
    numbers = torch.get_rng_state()
    bias_and_variance({"": gradient}, gradient.of_all(), [2], 2)
    decay(gradient, gradient, [3], 2)
    lipschitz(gradient)
    assert net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in net.parameters())
    assert torch.equal(torch.get_rng_state(), numbers)


class Point(nn.Module):
    """Weights of the shape of an image."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.full((1, 2, 2), 0.25, dtype=torch.float64))


STEEP = torch.tensor([[[1.0, 0.5], [0.25, 2.0]]], dtype=torch.float64)


def quadratic(model, batch):
    """1/2 sum_j h_j (w_j - x_j)^2, in the mean over the images: its gradient is h (w - mean x)."""
    yield (STEEP * (model.w - batch.x).square() / 2).sum((1, 2, 3)).mean()


def points(n=16):
    return Gradient(quadratic, Point(), torch.rand(n, 1, 2, 2, dtype=torch.float64), torch.zeros(n, dtype=torch.long))


def test_full_gradients_contract_by_the_closed_form():
    gradient = points()
    start, rate = (STEEP * (gradient.model.w - gradient.x.mean(0))).detach(), 0.3
    squares = [float(((1 - rate * STEEP) ** t * start).square().sum()) for t in range(100)]
    for row in decay(gradient, gradient, [10, 100], 16, rate=rate):
        t = row["steps"]
        assert row["mean_square"] == pytest.approx(np.mean([squares[i] for i in marks_of(t)]), rel=1e-9)
        assert (row["first"], row["last"]) == pytest.approx((squares[0], squares[t - 1]), rel=1e-9)
    assert marks_of(10) == set(range(10))
    assert len(marks_of(100)) == 25


def test_the_lipschitz_constant_of_a_quadratic_is_its_largest_curvature():
    assert lipschitz(points()) == pytest.approx(2.0, rel=1e-6)


def test_mini_batches_leave_the_noise_that_the_rate_lets_through():
    gradient = replace(points(64), losses=lambda model, batch: [(model.w - batch.x).square().sum((1, 2, 3)).mean() / 2])
    put_weights(gradient, gradient.x.mean(0).flatten())
    spread = (gradient.x - gradient.x.mean(0)).square().sum((1, 2, 3)).mean().item()
    of_batch = spread / 8 * (64 - 8) / 63
    (row,) = decay(gradient, gradient, [600], 8, rate=0.2)
    assert row["first"] < 1e-24
    assert row["mean_square"] == pytest.approx(0.2 / (2 - 0.2) * of_batch, rel=0.4)  # of an AR(1) process, 24 of it
    (usual,) = decay(gradient, gradient, [25], 8)
    assert usual["rate"] == 1 / 5


def test_a_rate_that_is_too_large_is_told_and_no_number():
    gradient = points()
    (row,) = decay(gradient, gradient, [500], 16, rate=3.0)
    assert (row["mean_square"], row["first"], row["last"]) == (None, None, None)


def test_starts_do_not_reach_beyond_the_block():
    model, (x, y) = smooth(), digits()
    Gradient(FastBAT(EPS).losses, model, x, y).of_all()
    drawn = [next(iter(FastBAT(EPS).losses(model, Batch(x, y)))).item() for _ in range(2)]
    assert drawn[0] != drawn[1]
