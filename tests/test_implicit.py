"""The Hessian-aware implicit gradient and the attack objectives of FAST-BAT, in float64.

`solve` is the dense solution of (H_FF + lambda I) w = v_F, with H built entry by entry; where a direction of negative
curvature shows it is v_F / lambda, and with H = 0 the two are the same. The whole gradient at a solution of the lower
level l_atk(d) + lambda / 2 |d - z|^2 over the box is the numeric derivative of theta -> L(theta, d*(theta)): Eqs. 4
and 23. FAST-BAT puts d* of Eq. 8 in its place, which is O(1 / lambda^2) away. KL and DLR: their formulas, and for the
Hessian-free term the numeric derivative through Eq. 8.
"""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from fastbat.attacks.objective import Objective, cross_entropy, dlr, kl_from
from fastbat.data.batch import Batch
from fastbat.errors import InputError
from fastbat.implicit import Solution, solve
from fastbat.methods import FastBAT
from fastbat.methods.fast_bat_forms import with_inverse
from fastbat.models import build_model

EPS = 8 / 255
CLASSES = 5
NOISE_SEED = 77
seeds = pytest.mark.parametrize("seed", range(3))
sharp_seeds = pytest.mark.parametrize("seed", [1, 12, 18])  # of those where `sharp` holds
exactly = partial(solve, iterations=500, tolerance=1e-13)


def smooth_net(seed: int) -> nn.Module:
    """Return a network without BatchNorm or kinks; three times the usual weights, so that it curves."""
    torch.manual_seed(seed)
    model = build_model("cnn", num_classes=CLASSES, width=2, activation="softplus").double()
    with torch.no_grad():
        for weights in model.parameters():
            weights *= 3
    return model


def coupled_net(seed: int) -> nn.Module:
    """Return a smooth network whose BatchNorm, in train mode, couples the images of a batch."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(36, CLASSES)]
    return nn.Sequential(*layers).double().train()


def images(seed: int, size: int = 4) -> Batch:
    """Return images (size, 3, 8, 8); about a seventh of the pixels are exactly 0 and a seventh exactly 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(size, 3, 8, 8, dtype=torch.float64, generator=generator)
    return Batch((1.4 * noise - 0.2).clamp(0, 1), torch.randint(CLASSES, (size,), generator=generator))


def off(found: Tensor, true: Tensor) -> float:
    """Return the relative error |found - true| / |true|."""
    return ((found - true).norm() / true.norm()).item()


def flat(tensors: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


def clip(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """Clip first to the budget, then to the image."""
    return (x + delta.clamp(-eps, eps)).clamp(0, 1) - x


def free(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """Return 1 where no constraint of Eq. 9 is active."""
    return ((delta.abs() < eps - 1e-7) & (x + delta > 1e-7) & (x + delta < 1 - 1e-7)).double()


def sharp(x: Tensor, delta: Tensor, eps: float) -> bool:
    """Say whether no coordinate is free and yet so near to a face that `free`, or a difference, puts it there."""
    distance = torch.minimum(eps - delta.abs(), torch.minimum(x + delta, 1 - x - delta))
    return not ((distance > 1e-14) & (distance < 1e-6)).any()


def uniform(batch: Batch, eps: float) -> Tensor:
    """Return P(U(-eps, eps)) with the noise of NOISE_SEED."""
    torch.manual_seed(NOISE_SEED)
    return clip(batch.x, eps * (2 * torch.rand_like(batch.x) - 1), eps)


# The solver against the dense system.


class System(NamedTuple):
    """(H_FF + lambda I) w = v_F at some perturbation of a batch, matrix-free and dense."""

    g: Tensor  # -grad_d l_atk, with its graph
    delta: Tensor
    v: Tensor
    free: Tensor
    dense: Tensor  # H = hess_dd l_atk = -hess CE, (n, n)
    index: Tensor  # of the free coordinates among the n

    def on_free(self) -> Tensor:
        """Return H_FF."""
        return self.dense[self.index][:, self.index]

    def solution(self, lam: float) -> Tensor:
        """Return w of the dense system, zero off the free coordinates."""
        w = torch.zeros_like(self.v).flatten()
        matrix = self.on_free() + lam * torch.eye(len(self.index), dtype=w.dtype)
        w[self.index] = torch.linalg.solve(matrix, self.v.flatten()[self.index])
        return w.view_as(self.v)

    def solve(self, lam: float, v: Tensor | None = None, **options: float) -> Solution:
        return solve(self.g, self.delta, self.v if v is None else v, self.free, lam, **options)


@cache
def system(net: Callable[[int], nn.Module], seed: int) -> System:
    """Return a system of the network net(seed); its dense Hessian takes a second."""
    model, batch = net(seed), images(seed, size=3)
    x, y = batch.x, batch.y
    delta = uniform(batch, EPS).requires_grad_()

    def attack(d: Tensor) -> Tensor:
        return F.cross_entropy(model(x + d), y, reduction="sum")

    dense = -torch.autograd.functional.hessian(attack, delta.detach()).reshape(x.numel(), x.numel())
    (g,) = torch.autograd.grad(attack(delta), delta, create_graph=True)
    v = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed))
    mask = free(x, delta.detach(), EPS) * (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < 0.8)
    return System(g, delta, v, mask, dense, mask.flatten().nonzero().flatten())


def steepest(one: System) -> tuple[float, Tensor]:
    """Return the largest eigenvalue of hess CE on the free coordinates, and its unit vector in the shape of v."""
    values, vectors = torch.linalg.eigh(-one.on_free())
    direction = torch.zeros_like(one.v).flatten()
    direction[one.index] = vectors[:, -1]
    return values[-1].item(), direction.view_as(one.v)


@pytest.mark.parametrize("net", [smooth_net, coupled_net])
@seeds
def test_where_the_system_is_positive_it_is_the_dense_solution(seed: int, net: Callable[[int], nn.Module]) -> None:
    one = system(net, seed)
    lam = 1.5 * steepest(one)[0]
    true = one.solution(lam)
    found = one.solve(lam, iterations=500, tolerance=1e-13)
    assert not found.fell_back
    assert off(found.w, true) < 1e-12
    assert not found.w[one.free == 0].any()
    assert 0.2 < one.free.mean() < 0.8
    assert found.residual < 1e-13
    image = (one.dense @ (one.free * one.v).flatten())[one.index]
    assert found.hessian == pytest.approx((image.norm() / (lam * (one.free * one.v).norm())).item(), rel=1e-12)
    assert off(one.free * one.v / lam, true) > 0.05  # the Hessian is there to be missed


def test_the_hessian_of_batch_norm_in_train_mode_couples_the_images() -> None:
    blocks = {net: system(net, 0).dense.view(3, 192, 3, 192)[0, :, 1] for net in (smooth_net, coupled_net)}
    assert not blocks[smooth_net].any()
    assert blocks[coupled_net].abs().max() > 1e-3


@seeds
def test_it_stops_at_the_tolerance_or_after_the_iterations(seed: int) -> None:
    one = system(smooth_net, seed)
    lam = 1.5 * steepest(one)[0]
    b = one.free * one.v
    identity = torch.eye(one.v.numel(), dtype=b.dtype)
    residuals = []
    for iterations in range(1, 8):
        found = one.solve(lam, iterations=iterations, tolerance=0)
        left = (one.dense + lam * identity) @ found.w.flatten() - b.flatten()
        residuals.append(left[one.index].norm().item() / b.norm().item())
        assert found.iterations == iterations
        assert found.residual == pytest.approx(residuals[-1], rel=1e-6)
    assert residuals == sorted(residuals, reverse=True)
    for tolerance in (1e-1, 1e-2):
        found = one.solve(lam, iterations=500, tolerance=tolerance)
        first = next(i for i, residual in enumerate(residuals, 1) if residual <= tolerance)
        assert found.iterations == first


def test_by_default_it_takes_ten_iterations_at_most_and_fewer_to_a_residual_of_1e_3() -> None:
    delta = torch.zeros(1, 1, 10, 10, dtype=torch.float64, requires_grad=True)
    v = torch.ones_like(delta)
    for largest, enough in ((0.9999, False), (0.5, True)):
        curvature = torch.linspace(0, largest, 100, dtype=v.dtype).view_as(v)  # of CE; lambda is 1
        by_default = solve(curvature * delta, delta, v, v, 1.0)
        first = solve(curvature * delta, delta, v, v, 1.0, iterations=500)
        assert off(exactly(curvature * delta, delta, v, v, 1.0).w, v / (1 - curvature)) < 1e-9
        assert first.residual <= 1e-3
        assert (first.iterations <= 10) == enough
        assert by_default.iterations == min(first.iterations, 10)


@seeds
def test_negative_curvature_falls_back_to_hessian_free(seed: int) -> None:
    one = system(smooth_net, seed)
    top, direction = steepest(one)
    lam = top / 3
    found = one.solve(lam, direction)  # (H + lambda) direction = (1/3 - 1) top direction, at once
    assert found.fell_back
    assert found.iterations == 1
    assert torch.equal(found.w, one.free * direction / lam)
    assert found.residual == pytest.approx(3, rel=1e-9)  # |(H + lambda) / lambda - 1| = top / lambda
    assert found.hessian == pytest.approx(3, rel=1e-9)
    generic = one.solve(lam, iterations=100, tolerance=1e-13)  # any v has some of that direction
    assert generic.fell_back
    assert generic.iterations > 1
    assert torch.equal(generic.w, one.free * one.v / lam)
    image = (one.dense @ generic.w.flatten())[one.index]
    assert generic.residual == pytest.approx(image.norm().item() / (one.free * one.v).norm().item(), rel=1e-9)


def test_a_direction_without_curvature_is_no_minimum_either() -> None:
    delta = torch.zeros(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    v = torch.ones_like(delta)
    found = solve(2.0 * delta, delta, v, v, lam=2.0)  # lambda - 2 = 0
    assert found.fell_back
    assert torch.equal(found.w, v / 2)


def test_without_curvature_it_is_hessian_free_in_one_step() -> None:
    delta = torch.zeros(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    v, mask = torch.randn(delta.shape, dtype=delta.dtype), (torch.rand(delta.shape) < 0.5).double()
    found = solve(0 * delta, delta, v, mask, lam=0.3)
    assert off(found.w, mask * v / 0.3) < 1e-15
    assert (found.iterations, found.fell_back) == (1, False)
    assert found.hessian < 1e-15
    assert found.residual < 1e-15


@pytest.mark.parametrize("which", ["v", "free"])
def test_with_nothing_to_solve_it_is_zero(which: str) -> None:
    one = system(smooth_net, 0)
    found = one._replace(**{which: torch.zeros_like(one.v)}).solve(1.0)
    assert not found.w.any()
    assert (found.iterations, found.residual, found.fell_back, found.hessian) == (0, 0.0, False, 0.0)


# The whole gradient against the lower level.


def numeric_derivatives(loss: Callable[[], float], model: nn.Module, along: Tensor, h: float = 1e-5) -> Tensor:
    """Return the derivatives of `loss` along unit vectors of weight space: 4th-order central differences."""
    theta = parameters_to_vector(model.parameters()).detach()

    def at(weights: Tensor) -> float:
        vector_to_parameters(weights, model.parameters())
        return loss()

    stencil = ((-2, 1), (-1, -8), (1, 8), (2, -1))
    found = [sum(w * at(theta + k * h * u) for k, w in stencil) / (12 * h) for u in along]
    vector_to_parameters(theta, model.parameters())
    return torch.tensor(found, dtype=theta.dtype)


def directions(model: nn.Module) -> Tensor:
    """Return unit vectors of weight space: two random ones, and one coordinate of every weight tensor."""
    sizes = [p.numel() for p in model.parameters()]
    normal = torch.randn(2, sum(sizes), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    middles = [sum(sizes[:i]) + size // 2 for i, size in enumerate(sizes)]
    return torch.cat([F.normalize(normal), torch.eye(sum(sizes), dtype=torch.float64)[middles]])


def ascent(model: nn.Module, batch: Batch, delta: Tensor, objective: Objective) -> Tensor:
    """Return -grad_d l_atk at delta."""
    delta = delta.detach().requires_grad_()
    return torch.autograd.grad(objective(model(batch.x + delta), batch.y), delta)[0]


def lower_level(model: nn.Module, batch: Batch, z: Tensor, lam: float, start: Tensor | None = None) -> Tensor:
    """Return the d of the box that minimises l_atk(d) + lambda / 2 |d - z|^2, by projected gradient to 1e-15."""
    delta = z if start is None else start
    for _ in range(200):
        before, delta = delta, clip(batch.x, z + ascent(model, batch, delta, cross_entropy) / lam, EPS)
        if (delta - before).abs().max() < 1e-15:
            return delta
    raise AssertionError("the lower level was not solved")


def top_curvature(model: nn.Module, batch: Batch, delta: Tensor) -> float:
    """Return the largest |eigenvalue| of hess CE at delta, by power iteration."""
    delta = delta.detach().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(model(batch.x + delta), batch.y), delta, create_graph=True)
    direction = torch.randn_like(g)
    for _ in range(50):
        (image,) = torch.autograd.grad(g, delta, direction / direction.norm(), retain_graph=True)
        direction = image
    return direction.norm().item()


def gradient_at(method: FastBAT, model: nn.Module, batch: Batch, delta: Tensor) -> Tensor:
    """Return the gradient that the method gives at a perturbation, flat."""
    mask = free(batch.x, delta, EPS)
    loss = with_inverse(model, batch, delta.clone(), mask, cross_entropy, method.a, method.ig_weight)
    return flat(torch.autograd.grad(loss, list(model.parameters())))


def update(method: FastBAT, model: nn.Module, batch: Batch) -> tuple[float, Tensor]:
    """Return the loss of one update and the gradient it accumulates, flat, with the noise of NOISE_SEED."""
    torch.manual_seed(NOISE_SEED)
    model.zero_grad()
    for loss in method.losses(model, batch):
        loss.backward()
    return loss.item(), flat([p.grad for p in model.parameters()])


def mean_ce(model: nn.Module, batch: Batch, delta: Tensor) -> float:
    with torch.no_grad():
        return F.cross_entropy(model(batch.x + delta), batch.y).item()


def lower_level_loss(model: nn.Module, batch: Batch, z: Tensor, lam: float, start: Tensor) -> float:
    """Return L(theta, d*(theta))."""
    return mean_ce(model, batch, lower_level(model, batch, z, lam, start))


def aware(lam: float, **settings: object) -> FastBAT:
    """Return the Hessian-aware method with the chain rule's weight, alpha2 = alpha1."""
    return FastBAT(**{"eps": EPS, "lam": lam, "ig_weight": 1 / lam, "ig_mode": "hessian-aware"} | settings)


@pytest.mark.parametrize("above", [2, 20])
@sharp_seeds
def test_at_a_solution_of_the_lower_level_it_is_the_total_derivative(
    seed: int, above: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = smooth_net(seed), images(seed)
    z = uniform(batch, EPS)
    lam = above * top_curvature(model, batch, z)
    masks, near = [], lower_level(model, batch, z, lam)

    def loss() -> float:  # L(theta, d*(theta)), z held fixed
        delta = lower_level(model, batch, z, lam, near)
        masks.append(free(batch.x, delta, EPS))
        return mean_ce(model, batch, delta)

    along = directions(model)
    numeric = numeric_derivatives(loss, model, along)
    assert all(torch.equal(mask, masks[0]) for mask in masks)  # no kink between the points of a difference
    assert 0.05 < masks[0].mean() < 0.95
    delta = lower_level(model, batch, z, lam)
    assert sharp(batch.x, delta, EPS)

    def found(method: FastBAT) -> Tensor:
        return along @ gradient_at(method, model, batch, delta)

    without = found(aware(lam, ig_weight=0))
    size = (numeric - without).norm()  # of the implicit term alone

    def error(method: FastBAT) -> float:
        return ((found(method) - numeric).norm() / size).item()

    method = aware(lam)
    assert error(method) < 5e-3  # with the method's own solver: a residual of 1e-3, a condition of 3 at most
    assert batch.log["fallbacks"] == 0
    monkeypatch.setattr("fastbat.methods.fast_bat_forms.solve", exactly)
    assert error(aware(lam)) < 5e-8  # of the implicit term; the whole gradient to 1e-9
    assert error(aware(lam, ig_weight=2 / lam)) > 0.1
    monkeypatch.setattr("fastbat.methods.fast_bat_forms.solve", lambda *parts: exactly(0 * parts[1], *parts[1:]))
    assert error(aware(lam)) > 0.1 / above  # the Hessian is there to be missed


@sharp_seeds
def test_at_the_point_of_eq_8_it_is_the_total_derivative_to_second_order_in_1_over_lambda(seed: int) -> None:
    model, batch = smooth_net(seed), images(seed)
    z = uniform(batch, EPS)
    along = directions(model)
    errors = []
    base = 40 * top_curvature(model, batch, z)
    for lam in (base, 2 * base, 4 * base):
        loss = partial(lower_level_loss, model, batch, z, lam, lower_level(model, batch, z, lam))
        gradient = update(aware(lam, linearise="uniform"), model, batch)[1]
        errors.append((along @ gradient - numeric_derivatives(loss, model, along)).norm().item())
    for one, next_ in pairwise(errors):
        assert one / next_ == pytest.approx(4, rel=0.1)


# What FAST-BAT makes of it.


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[object, ...], Solution]]:
    """Record what the method gives the solver and what it gets back."""
    calls: list[tuple[tuple[object, ...], Solution]] = []

    def recording(*parts: object) -> Solution:
        calls.append((parts, solve(*parts)))
        return calls[-1][1]

    monkeypatch.setattr("fastbat.methods.fast_bat_forms.solve", recording)
    return calls


@pytest.mark.parametrize(("lam", "fell_back"), [("paper", True), (50.0, False)])
@seeds
def test_the_measures_are_those_of_the_solver(
    seed: int, lam: float | str, fell_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch)
    method, model, batch = FastBAT(EPS, lam=lam, ig_mode="hessian-aware"), smooth_net(seed), images(seed)
    update(method, model, batch)
    ((parts, found),) = calls
    g, delta, v, mask, passed = parts
    assert passed == pytest.approx(method.resolved["lam"], rel=1e-15)
    assert (batch.log["fallbacks"], batch.log["iterations"]) == (fell_back, found.iterations)
    assert batch.log["residual"].item() == pytest.approx(found.residual, rel=1e-12)
    assert batch.log["hessian"].item() == pytest.approx(found.hessian, rel=1e-12)
    assert 1 <= found.iterations <= 10
    assert torch.equal(mask, free(batch.x, delta.detach(), EPS))
    assert batch.log["active"].item() == pytest.approx(1 - mask.mean().item(), abs=1e-15)
    assert off(g, ascent(model, batch, delta, cross_entropy)) < 1e-13
    assert off(v, ascent(model, batch, delta, cross_entropy) / len(batch.x)) < 1e-13  # of the mean


@pytest.mark.parametrize("attack_objective", ["ce", "kl", "dlr"])
@pytest.mark.parametrize("lam", [0.2, 1.0])
def test_fallen_back_it_is_hessian_free_with_the_mixed_derivative_at_delta(lam: float, attack_objective: str) -> None:
    model = smooth_net(1)
    batch = half_right(model, images(1))
    settings = {"eps": EPS, "lam": lam, "attack_objective": attack_objective}
    method = FastBAT(**settings, ig_mode="hessian-aware")
    value, gradient = update(method, model, batch)
    assert batch.log["fallbacks"] == 1
    other, expected = update(FastBAT(**settings, mixed_at="delta", ig_mode="hessian-free"), model, batch)
    assert value == pytest.approx(other, rel=1e-14)
    assert off(gradient, expected) < 1e-12
    assert off(update(FastBAT(**settings, ig_weight=0), model, batch)[1], expected) > 1e-4


@pytest.mark.parametrize("lam", [0.3, 30.0])
def test_with_an_attack_that_does_not_curve_it_is_the_hessian_free_term(lam: float) -> None:
    torch.manual_seed(3)
    batch = images(3)
    x, y = batch.x, batch.y
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES)).double()
    weights = torch.randn(CLASSES, dtype=torch.float64)

    def objective(logits: Tensor, y: Tensor) -> Tensor:
        return (logits @ weights).sum() + 0 * logits.square().sum()  # linear in d, so H = 0

    delta = uniform(batch, EPS)
    mask = free(x, delta, EPS)
    method = FastBAT(EPS, lam=lam, ig_weight=0.7, ig_mode="hessian-aware")
    loss = with_inverse(model, batch, delta.clone(), mask, objective, method.a, method.ig_weight)
    found = flat(torch.autograd.grad(loss, list(model.parameters())))
    delta.requires_grad_()
    plain = F.cross_entropy(model(x + delta), y)
    *first, towards = torch.autograd.grad(plain, [*model.parameters(), delta])
    (g,) = torch.autograd.grad(objective(model(x + delta), y), delta, create_graph=True)
    mixed = torch.autograd.grad((g * mask * towards).sum(), list(model.parameters()), allow_unused=True)
    second = [0 * p if m is None else m for m, p in zip(mixed, model.parameters(), strict=True)]
    assert loss.item() == pytest.approx(plain.item(), rel=1e-14)
    assert off(found, flat(first) + 0.7 * flat(second)) < 1e-13
    assert off(flat(first), flat(first) + 0.7 * flat(second)) > 1e-2
    assert (batch.log["fallbacks"], batch.log["iterations"]) == (0, 1)


@pytest.mark.parametrize("attack_objective", ["ce", "kl", "dlr"])
@pytest.mark.parametrize("linearise", ["pgd-nosign", "uniform"])
def test_mode_none_is_weight_zero(linearise: str, attack_objective: str) -> None:
    settings = {"eps": EPS, "linearise": linearise, "attack_objective": attack_objective}
    model, batch = smooth_net(0), images(0)
    value, gradient = update(FastBAT(**settings, ig_mode="none"), model, batch)
    other, expected = update(FastBAT(**settings, ig_weight=0), model, batch)
    assert value == other
    assert torch.equal(gradient, expected)
    assert not torch.equal(gradient, update(FastBAT(**settings), model, batch)[1])


def test_at_weight_zero_nothing_is_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, batch = recorded(monkeypatch), images(0)
    aware, none = (FastBAT(EPS, ig_weight=0, ig_mode=mode) for mode in ("hessian-aware", "none"))
    value, gradient = update(aware, smooth_net(0), batch)
    other, expected = update(none, smooth_net(0), batch)
    assert calls == []
    assert value == other
    assert torch.equal(gradient, expected)


def test_hessian_aware_is_at_delta_wherever_mixed_at_says_and_leaves_its_delta_alone() -> None:
    batch = images(0)
    updates = [
        update(FastBAT(EPS, ig_mode="hessian-aware", mixed_at=at), smooth_net(0), batch) for at in ("z", "delta")
    ]
    assert torch.equal(updates[0][1], updates[1][1])
    delta = torch.zeros_like(batch.x)
    with_inverse(smooth_net(0), batch, delta, torch.ones_like(delta), cross_entropy, 1.0, 0.1)
    assert not delta.requires_grad


# The attack objectives.


def test_the_difference_of_logits_ratio_of_two_classes_is_refused() -> None:
    batch = images(0)
    torch.manual_seed(0)
    model = build_model("cnn", num_classes=2, width=2).double()
    with pytest.raises(InputError, match="ratio needs 3 classes, not 2; climb ce or kl instead"):
        next(FastBAT(EPS, attack_objective="dlr").losses(model, batch))


def kl_plainly(model: nn.Module, batch: Batch, delta: Tensor) -> Tensor:
    """Return the sum over images of KL(f(x) || f(x + d))."""
    p, q = model(batch.x).softmax(1), model(batch.x + delta).softmax(1)
    return (p * (p / q).log()).sum()


def dlr_plainly(model: nn.Module, batch: Batch, delta: Tensor) -> Tensor:
    """Return the sum over images of -(z_y - max_{k != y} z_k) / (z_(1) - z_(3))."""
    total = torch.zeros((), dtype=batch.x.dtype)
    for z, y in zip(model(batch.x + delta), batch.y.tolist(), strict=True):
        other = torch.stack([z[k] for k in range(CLASSES) if k != y]).max()
        ordered = z.sort().values
        total = total - (z[y] - other) / (ordered[-1] - ordered[-3])
    return total


def half_right(model: nn.Module, batch: Batch) -> Batch:
    """Return the images with labels that every other one is given; the rest it thinks second most likely.

    Were the label third, the ratio would be 1 whatever the perturbation, and its gradient rounding.
    """
    order = model(batch.x).argsort(1, descending=True)
    return Batch(batch.x, order[range(len(order)), torch.arange(len(order)) % 2])


PLAINLY = {"kl": kl_plainly, "dlr": dlr_plainly}
objectives = pytest.mark.parametrize("attack_objective", PLAINLY)


def plain_gradient(attack_objective: str, model: nn.Module, batch: Batch, delta: Tensor) -> Tensor:
    delta = delta.detach().requires_grad_()
    return torch.autograd.grad(PLAINLY[attack_objective](model, batch, delta), delta)[0]


@objectives
@seeds
def test_an_objective_is_its_formula(seed: int, attack_objective: str) -> None:
    model = smooth_net(seed)
    batch = half_right(model, images(seed, size=12))
    delta = uniform(batch, EPS)
    logits = model(batch.x + delta)
    objective = {"kl": kl_from(model(batch.x)), "dlr": dlr}[attack_objective]
    expected = PLAINLY[attack_objective](model, batch, delta)
    assert objective(logits, batch.y).item() == pytest.approx(expected.item(), rel=1e-9)
    expected = plain_gradient(attack_objective, model, batch, delta)
    assert off(ascent(model, batch, delta, objective), expected) < 1e-9


@pytest.mark.parametrize("linearise", ["pgd-nosign", "pgd-sign", "uniform"])
@objectives
def test_the_attack_climbs_the_objective(attack_objective: str, linearise: str) -> None:
    model = smooth_net(1)
    batch = half_right(model, images(1))
    a, z = 0.1, uniform(batch, EPS)
    slope = partial(plain_gradient, attack_objective, model, batch)
    if linearise != "uniform":
        g = slope(z)
        z = clip(batch.x, z + (a * g if linearise == "pgd-nosign" else EPS / 2 * g.sign()), EPS)
    delta = clip(batch.x, z + a * slope(z), EPS)
    method = FastBAT(EPS, lam=1 / a, ig_weight=0, linearise=linearise, attack_objective=attack_objective)
    seen: list[Tensor] = []
    with model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach())):
        value, gradient = update(method, model, batch)
    assert (seen[-1] - batch.x - delta).abs().max() < 1e-10
    loss = F.cross_entropy(model(batch.x + delta), batch.y)  # the weights are trained on CE all the same
    assert value == pytest.approx(loss.item(), rel=1e-10)
    assert off(gradient, flat(torch.autograd.grad(loss, list(model.parameters())))) < 1e-8


@objectives
@sharp_seeds
def test_with_weight_1_over_lambda_it_is_the_total_derivative_through_eq_8(seed: int, attack_objective: str) -> None:
    model, batch, lam = smooth_net(seed), images(seed), 10.0
    z = uniform(batch, EPS)
    masks = []

    def loss() -> float:  # the clean prediction of KL moves with the weights too
        delta = clip(batch.x, z + plain_gradient(attack_objective, model, batch, z) / lam, EPS)
        masks.append(free(batch.x, delta, EPS))
        assert sharp(batch.x, delta, EPS)
        return mean_ce(model, batch, delta)

    along = directions(model)
    numeric = numeric_derivatives(loss, model, along)
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    assert 0.05 < masks[0].mean() < 0.95
    method = FastBAT(EPS, lam=lam, ig_weight=1 / lam, linearise="uniform", attack_objective=attack_objective)
    without = FastBAT(EPS, lam=lam, ig_weight=0, linearise="uniform", attack_objective=attack_objective)
    assert off(along @ update(method, model, batch)[1], numeric) < 1e-8
    assert off(along @ update(without, model, batch)[1], numeric) > 1e-3
