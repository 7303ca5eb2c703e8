"""The training methods against the mathematics they claim, in float64.

FAST-BAT: one backward pass is the update of Eq. 13 written out in five steps (BatchNorm in train mode);
with the chain rule's weight it is the numeric derivative of theta -> L(theta, d*(theta)), Eqs. 4 and 8;
with signed gradients it is FAST-AT (Eqs. 5, 6); at an unconstrained lower-level optimum the implicit term
vanishes (App. B). The baselines: their steps written out. All: the passes through the model, lambda by
source, refused settings.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import cross_entropy
from fastbat.data.batch import Batch
from fastbat.errors import InputError
from fastbat.methods import FastAT, FastBAT, Method, PgdAT, Standard
from fastbat.models import build_model
from fastbat.tangent import directional

LINEARISATIONS = ("pgd-nosign", "pgd-sign", "uniform", "corner")
NOISE_SEED = 77


def batch_norm_net(seed: int) -> nn.Module:
    """Return a PreActResNet-18 of width 4 in train mode: its gradients couple the images of a batch."""
    torch.manual_seed(seed)
    return build_model("preactresnet18", num_classes=5, width=4).double().train()


def smooth_net(seed: int) -> nn.Module:
    """Return a network without BatchNorm or kinks; three times the usual weights, so that it curves."""
    torch.manual_seed(seed)
    model = build_model("cnn", num_classes=5, width=2, activation="softplus").double()
    with torch.no_grad():
        for weights in model.parameters():
            weights *= 3
    return model


def images(seed: int, size: int = 6) -> Batch:
    """Return images (size, 3, 8, 8); about a seventh of the pixels are exactly 0 and a seventh exactly 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(size, 3, 8, 8, dtype=torch.float64, generator=generator)
    return Batch((1.4 * noise - 0.2).clamp(0, 1), torch.randint(5, (size,), generator=generator))


def update(method: Method, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the loss of one update and the gradient it accumulates, flat, with the noise of NOISE_SEED."""
    torch.manual_seed(NOISE_SEED)
    model.zero_grad()
    values = []
    for loss in method.losses(model, batch):
        loss.backward()
        values.append(loss.detach())
    return torch.stack(values).mean(), flat([p.grad for p in model.parameters()])


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


def off(found: Tensor, true: Tensor) -> float:
    """Return the relative error |found - true| / |true|."""
    return ((found - true).norm() / true.norm()).item()


# The definitions, written a second time and plainly.


def clip(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """Clip first to the budget, then to the image."""
    return (x + delta.clamp(-eps, eps)).clamp(0, 1) - x


def free(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """Return 1 where no constraint of Eq. 9 is active."""
    return ((delta.abs() < eps - 1e-7) & (x + delta > 1e-7) & (x + delta < 1 - 1e-7)).double()


def summed_gradient(model: nn.Module, x: Tensor, y: Tensor, delta: Tensor, *, graph: bool = False) -> Tensor:
    """Return -grad_d l_atk at delta."""
    delta = delta.clone().requires_grad_()
    loss = F.cross_entropy(model(x + delta), y, reduction="none").sum()
    return torch.autograd.grad(loss, delta, create_graph=graph)[0]


def point(model: nn.Module, batch: Batch, method: FastBAT) -> Tensor:
    """Return the linearisation point z of Table 9 with the noise of NOISE_SEED."""
    torch.manual_seed(NOISE_SEED)
    x, eps = batch.x, method.eps
    noise = 2 * torch.rand_like(x) - 1
    if method.linearise == "corner":
        return clip(x, eps * torch.sign(noise), eps)
    start = clip(x, eps * noise, eps)
    if method.linearise == "uniform":
        return start
    g = summed_gradient(model, x, batch.y, start)
    if method.linearise == "pgd-sign":
        return clip(x, start + eps / 2 * torch.sign(g), eps)
    return clip(x, start + g / method.resolved["lam"], eps)


class FiveSteps(NamedTuple):
    """What one update is, by the authors' released computation."""

    value: Tensor
    plain: Tensor  # grad_theta L(d*)
    gradient: Tensor  # with the implicit term
    delta: Tensor
    free: Tensor


def five_steps(model: nn.Module, batch: Batch, method: FastBAT) -> FiveSteps:
    """Return the update of Eq. 13 in five steps, each with its own pass through the model."""
    x, y, eps = batch.x, batch.y, method.eps
    weights = list(model.parameters())
    z = point(model, batch, method)  # 1
    delta = clip(x, z + summed_gradient(model, x, y, z) / method.resolved["lam"], eps)  # 2: d*, Eq. 8
    delta.requires_grad_()
    loss = F.cross_entropy(model(x + delta), y)  # 3: grad_theta L(d*) and grad_d L(d*)
    *plain, towards = torch.autograd.grad(loss, [*weights, delta])
    mask = free(x, delta.detach(), eps)
    at = z if method.mixed_at == "z" else delta
    g = summed_gradient(model, x, y, at.detach(), graph=True)  # 4: grad_theta <g, H_C grad_d L(d*)>
    implicit = torch.autograd.grad((g * mask * towards).sum(), weights)
    gradient = [first + method.ig_weight * second for first, second in zip(plain, implicit, strict=True)]  # 5
    return FiveSteps(loss.detach(), flat(plain), flat(gradient), delta.detach(), mask)


# FAST-BAT.

SETTINGS = [
    {"eps": 8 / 255, "lam": "paper", "ig_weight": 0.1},
    {"eps": 16 / 255, "lam": 4.0, "ig_weight": 0.25},
    {"eps": 0.2, "lam": 1.0, "ig_weight": 3.0},
]


@pytest.mark.parametrize("mixed_at", ["z", "delta"])
@pytest.mark.parametrize("linearise", LINEARISATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_one_backward_pass_is_the_five_steps(seed: int, linearise: str, mixed_at: str) -> None:
    method = FastBAT(**SETTINGS[seed], linearise=linearise, mixed_at=mixed_at, ig_mode="hessian-free")
    model, batch = batch_norm_net(seed), images(seed)
    plainly = five_steps(model, batch, method)
    value, gradient = update(method, model, batch)
    assert off(gradient, plainly.gradient) < 1e-12
    assert value.item() == pytest.approx(plainly.value.item(), rel=1e-14)  # mean CE(x + d*)
    assert batch.log["active"].item() == pytest.approx(1 - plainly.free.mean().item(), abs=1e-15)
    assert 0 < plainly.free.mean() < 1
    assert off(plainly.plain, plainly.gradient) > 1e-4  # the implicit term is there to be missed


@settings(derandomize=True, database=None, deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(5, 8),  # BatchNorm over fewer values multiplies the rounding errors
    eps=st.floats(0.5 / 255, 64 / 255),
    log_lam=st.floats(-3, 3),
    ig_weight=st.floats(0, 10),
    linearise=st.sampled_from(LINEARISATIONS),
    mixed_at=st.sampled_from(["z", "delta"]),
)
def test_one_backward_pass_is_the_five_steps_whatever_the_settings(
    seed: int, size: int, eps: float, log_lam: float, ig_weight: float, linearise: str, mixed_at: str
) -> None:
    how = {"linearise": linearise, "mixed_at": mixed_at, "ig_mode": "hessian-free"}
    method = FastBAT(eps=eps, lam=10**log_lam, ig_weight=ig_weight, **how)
    model, batch = batch_norm_net(seed % 1000), images(seed, size)
    plainly = five_steps(model, batch, method)
    value, gradient = update(method, model, batch)
    assert off(gradient, plainly.gradient) < 1e-12
    assert value.item() == pytest.approx(plainly.value.item(), rel=1e-14)
    assert batch.log["active"].item() == pytest.approx(1 - plainly.free.mean().item(), abs=1e-15)


@pytest.mark.parametrize("attack_objective", ["ce", "kl"])
@pytest.mark.parametrize("mixed_at", ["z", "delta"])
@pytest.mark.parametrize("linearise", LINEARISATIONS)
def test_the_tangent_is_the_double_backward(linearise: str, mixed_at: str, attack_objective: str) -> None:
    how = {"linearise": linearise, "mixed_at": mixed_at, "attack_objective": attack_objective, "ig_weight": 20.0}
    batch = images(1)
    _, without = update(FastBAT(8 / 255, **how, ig_mode="none"), batch_norm_net(1), batch)
    _, true = update(FastBAT(8 / 255, **how, ig_mode="hessian-free"), batch_norm_net(1), batch)
    _, found = update(FastBAT(8 / 255, **how, ig_mode="tangent"), batch_norm_net(1), batch)
    assert off(true, without) > 1e-3
    assert off(found - without, true - without) < 1e-9


def test_the_tangent_in_float32_is_the_double_backward_but_for_rounding() -> None:
    torch.manual_seed(0)
    model, x = build_model("preactresnet18", width=16).train(), torch.rand(16, 3, 32, 32)
    batch = Batch(x, torch.arange(16) % 10)
    gradients = {}
    for mode in ("none", "hessian-free", "tangent"):
        _, gradients[mode] = update(FastBAT(8 / 255, ig_weight=1.0, ig_mode=mode), model, batch)  # type: ignore[arg-type]
    true, found = (gradients[mode] - gradients["none"] for mode in ("hessian-free", "tangent"))
    assert torch.cosine_similarity(found, true, 0) > 0.9999
    assert off(found, true) < 1e-2


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cnn", {}),
        ("cnn", {"activation": "swish"}),
        ("preactresnet18", {"activation": "softplus"}),
        ("preactresnet50", {}),
        ("wideresnet-16-8", {"dropout": 0.3}),
    ],
)
def test_the_tangent_is_the_double_backward_of_every_network(name: str, settings: dict) -> None:
    def net() -> nn.Module:
        torch.manual_seed(3)
        return build_model(name, num_classes=5, width=4, **settings).double().train()

    def term(method: FastBAT, model: nn.Module) -> Tensor:
        return update(method, model, images(3))[1]

    how = {"linearise": "uniform", "ig_weight": 5.0}
    if "dropout" in settings:  # each pass drops other places: compare at one noise, the term alone
        model, batch = net(), images(3)
        x, t = batch.x.requires_grad_(), torch.randn_like(batch.x)
        torch.manual_seed(NOISE_SEED)
        (g,) = torch.autograd.grad(F.cross_entropy(model(x), batch.y, reduction="sum"), x, create_graph=True)
        torch.manual_seed(NOISE_SEED)
        assert directional(model, x, batch.y, t, cross_entropy).item() == pytest.approx((g * t).sum().item())
        return
    true, found = (term(FastBAT(8 / 255, **how, ig_mode=mode), net()) for mode in ("hessian-free", "tangent"))
    assert off(found, true) < 1e-9


def test_the_tangent_leaves_batch_norms_statistics_alone() -> None:
    model, batch = batch_norm_net(0), images(0)
    before = {name: value.clone() for name, value in model.named_buffers()}
    directional(model, batch.x, batch.y, torch.randn_like(batch.x), cross_entropy)
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())


def test_the_terms_share_of_the_gradient_is_measured() -> None:
    batch, gradients = images(0), {}
    for mode in ("none", "hessian-free"):
        _, gradients[mode] = update(FastBAT(8 / 255, ig_weight=5.0, ig_mode=mode), batch_norm_net(1), batch)
    method = FastBAT(8 / 255, ig_weight=5.0, ig_mode="tangent")
    update(method, batch_norm_net(1), batch)
    share = (gradients["hessian-free"] - gradients["none"]).norm() / gradients["none"].norm()
    assert batch.log["term"].item() == pytest.approx(share.item(), rel=1e-6)


def test_each_batch_has_its_own_figures() -> None:
    method, model = FastBAT(8 / 255, ig_every=2), batch_norm_net(1)
    for step, measured in enumerate(({"active", "term"}, {"active"})):
        batch = replace(images(step), step=step)
        update(method, model, batch)
        assert batch.log.keys() == measured


def test_every_other_batch_must_be_told_apart() -> None:
    with pytest.raises(InputError, match=r"needs to know each batch's step: Batch\(x, y, step=...\)"):
        update(FastBAT(8 / 255, ig_every=2), batch_norm_net(1), images(0))


def test_a_network_the_tangent_has_no_rule_for_is_differentiated_twice(capsys: pytest.CaptureFixture[str]) -> None:
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(144, 5)
    model, batch, gradients = nn.Sequential(*layers).double(), images(0), {}
    for mode in ("none", "hessian-free", "tangent"):
        _, gradients[mode] = update(FastBAT(8 / 255, ig_weight=5.0, ig_mode=mode), model, batch)  # type: ignore[arg-type]
    without, true, found = gradients.values()
    assert off(found - without, true - without) < 1e-9
    assert capsys.readouterr().err == (
        "no tangent of this network (gelu): differentiating twice instead, which is slower\n"
    )
    update(FastBAT(8 / 255), model, batch)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("ig_mode", ["hessian-free", "tangent"])
def test_every_third_batch_has_three_times_the_term(ig_mode: str) -> None:
    model, batch = batch_norm_net(2), images(2)
    _, without = update(FastBAT(8 / 255, ig_weight=5.0, ig_mode="none"), model, batch)
    _, with_term = update(FastBAT(8 / 255, ig_weight=5.0, ig_mode="hessian-free"), model, batch)
    method = FastBAT(8 / 255, ig_weight=5.0, ig_mode=ig_mode, ig_every=3)  # type: ignore[arg-type]
    found = [update(method, model, replace(batch, step=step))[1] for step in range(6)]
    for i, gradient in enumerate(found):
        assert off(gradient, without + (3 * (with_term - without) if i % 3 == 0 else 0)) < 1e-9


@pytest.mark.parametrize("linearise", LINEARISATIONS)
def test_without_the_implicit_term_it_is_the_gradient_at_a_constant_delta(linearise: str) -> None:
    method = FastBAT(eps=8 / 255, lam=4.0, ig_weight=0, linearise=linearise)
    model, batch = batch_norm_net(0), images(0)
    plainly = five_steps(model, batch, method)
    value, gradient = update(method, model, batch)
    assert off(gradient, plainly.plain) < 1e-12
    assert value.item() == pytest.approx(plainly.value.item(), rel=1e-14)


def numeric_derivatives(loss: Callable[[], float], model: nn.Module, directions: Tensor, h: float) -> Tensor:
    """Return the derivatives of `loss` along unit vectors of weight space: 4th-order central differences."""
    theta = parameters_to_vector(model.parameters()).detach()

    def at(weights: Tensor) -> float:
        vector_to_parameters(weights, model.parameters())
        return loss()

    stencil = ((-2, 1), (-1, -8), (1, 8), (2, -1))
    found = [sum(w * at(theta + k * h * u) for k, w in stencil) / (12 * h) for u in directions]
    vector_to_parameters(theta, model.parameters())
    return torch.tensor(found, dtype=theta.dtype)


def directions(model: nn.Module, random: int = 4) -> Tensor:
    """Return unit vectors of weight space: `random` ones, and one coordinate of every weight tensor."""
    sizes = [p.numel() for p in model.parameters()]
    normal = torch.randn(random, sum(sizes), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    middles = [sum(sizes[:i]) + size // 2 for i, size in enumerate(sizes)]
    return torch.cat([F.normalize(normal), torch.eye(sum(sizes), dtype=torch.float64)[middles]])


@pytest.mark.parametrize("linearise", ["uniform", "corner"])
@pytest.mark.parametrize("seed", range(3))
def test_with_weight_1_over_lambda_it_is_the_total_derivative_through_eq_8(seed: int, linearise: str) -> None:
    eps, lam = 8 / 255, 2.0
    model, batch = smooth_net(seed), images(seed)
    x, y = batch.x, batch.y
    chain_rule = FastBAT(eps=eps, lam=lam, ig_weight=1 / lam, linearise=linearise)
    z = point(model, batch, chain_rule)  # does not move with theta
    masks = []

    def loss() -> float:  # L(theta, d*(theta))
        delta = clip(x, z + summed_gradient(model, x, y, z) / lam, eps)
        masks.append(free(x, delta, eps))
        with torch.no_grad():
            return F.cross_entropy(model(x + delta), y).item()

    along = directions(model)
    numeric = numeric_derivatives(loss, model, along, h=1e-5)
    assert all(torch.equal(mask, masks[0]) for mask in masks)  # no kink between the points of a difference
    assert 0.05 < masks[0].mean() < 0.95

    def error(**changes: object) -> float:
        method = FastBAT(**{"eps": eps, "lam": lam, "ig_weight": 1 / lam, "linearise": linearise} | changes)
        return off(along @ update(method, model, batch)[1], numeric)

    assert error() < 1e-9
    assert error(mixed_at="delta") > 1e-2
    assert error(ig_weight=0) > 1e-2
    assert error(ig_weight=0.1) > 1e-2  # the published weight is not the chain rule's


@pytest.mark.parametrize("eps", [2 / 255, 8 / 255, 16 / 255])
def test_with_the_sign_of_the_gradient_it_is_fast_at(eps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def signed(*args: object, **options: object) -> Tensor:
        return input_gradient(*args, **options).sign()

    monkeypatch.setattr("fastbat.methods.fast_bat.input_gradient", signed)
    lam = 1 / (1.25 * eps)
    assert 1 / lam == 1.25 * eps  # so that equality can be exact
    model, batch = batch_norm_net(1), images(1)
    other = deepcopy(model)
    value, gradient = update(FastBAT(eps=eps, lam=lam, ig_weight=0, linearise="uniform"), model, batch)
    expected_value, expected = update(FastAT(eps=eps), other, batch)
    assert torch.equal(value, expected_value)
    assert torch.equal(gradient, expected)
    state, expected_state = model.state_dict(), other.state_dict()  # and BatchNorm saw the same two passes
    assert all(torch.equal(state[name], expected_state[name]) for name in expected_state)


class Hill(nn.Module):
    """Logits w_k |x - centre|^2 with w_0 the largest: the CE of label 0 has its one maximum at the centre."""

    def __init__(self, centre: Tensor) -> None:
        super().__init__()
        self.centre = nn.Parameter(centre)
        self.w = nn.Parameter(torch.tensor([2.0, -1.0, 0.5], dtype=centre.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre).square().flatten(1).sum(1, keepdim=True) * self.w


@pytest.mark.parametrize("mixed_at", ["z", "delta"])
@pytest.mark.parametrize("seed", range(3))
def test_the_implicit_term_vanishes_at_an_unconstrained_lower_level_optimum(seed: int, mixed_at: str) -> None:
    eps, generator = 0.1, torch.Generator().manual_seed(seed)
    x = 0.3 + 0.4 * torch.rand(1, 3, 8, 8, dtype=torch.float64, generator=generator)
    batch = Batch(x, torch.tensor([0]))
    best = 0.8 * eps * (2 * torch.rand(x.shape, dtype=x.dtype, generator=generator) - 1)
    model = Hill(x + best)  # max over the box of CE(x + d) is at d = best, inside
    z = point(model, batch, FastBAT(eps=eps, linearise="uniform"))
    g = summed_gradient(model, x, batch.y, z)
    lam = ((g * (best - z)).sum() / (best - z).square().sum()).item()
    assert lam > 0
    assert off(z + g / lam, best) < 1e-12  # with this lambda Eq. 8 goes from z to the optimum in one step

    def implicit_term(lam: float) -> Tensor:
        shared = {"eps": eps, "lam": lam, "linearise": "uniform", "mixed_at": mixed_at}
        methods = [FastBAT(**shared, ig_weight=weight) for weight in (1, 0)]
        with_term, without = (update(method, model, batch)[1] for method in methods)
        assert batch.log["active"] == 0
        return with_term - without

    at_optimum, short_of_it = implicit_term(lam), implicit_term(2 * lam)
    assert short_of_it.norm() > 1e-2
    assert at_optimum.norm() < 1e-12 * short_of_it.norm()


# lambda, and the settings refused.


@pytest.mark.parametrize(
    ("source", "eps_255", "a_255"),
    [
        ("paper", 8, 5000),  # Sec. 5.1
        ("paper", 16, 2500),  # Sec. 5.1
        ("paper", 2, 3000),  # App. C.1, ImageNet
        ("paper", 1, 3000),  # constant beyond
        ("paper", 0.1, 3000),
        ("paper", 32, 2500),
        ("paper", 255, 2500),
        ("paper", 4, math.sqrt(3000 * 5000)),  # half-way between on both logarithmic scales
        ("paper", math.sqrt(8 * 16), math.sqrt(5000 * 2500)),
        ("paper", 2**2.5, 3000**0.25 * 5000**0.75),
        ("released", 8, 5000),
        ("released", 2, 5000),
        ("released", 0.1, 5000),
        ("released", 8.01, 2000),
        ("released", 16, 2000),
        ("released", 255, 2000),
    ],
)
def test_lambda_by_source(source: str, eps_255: float, a_255: float) -> None:
    method = FastBAT(eps=eps_255 / 255, lam=source)
    assert method.resolved["lam"] == pytest.approx(255 / a_255, rel=1e-12)
    assert method.a == pytest.approx(a_255 / 255, rel=1e-12)


def test_lambda_as_a_number_is_kept_and_the_papers_is_the_default() -> None:
    assert FastBAT(eps=8 / 255, lam=0.25).resolved["lam"] == 0.25
    assert FastBAT(eps=8 / 255).resolved == FastBAT(eps=8 / 255, lam="paper").resolved
    assert FastBAT(eps=8 / 255) == FastBAT(eps=8 / 255, ig_weight=0.1, linearise="pgd-nosign")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lam": 0}, r"lam is 0; lambda must be above 0: 255/5000 = 0\.051 is the paper's"),
        ({"lam": -0.05}, r"lam is -0\.05; lambda must be above 0"),
        ({"lam": math.nan}, "lam is nan; lambda must be above 0"),
        ({"lam": "papper"}, "unknown lam 'papper'; did you mean 'paper'"),
        ({"lam": math.inf}, "lam is inf; lambda must be above 0"),
        ({"ig_weight": -1}, "ig_weight is -1; it must be 0"),
        ({"ig_weight": math.nan}, "ig_weight is nan"),
        ({"linearise": "pgd-no-sign"}, "unknown linearise 'pgd-no-sign'; did you mean 'pgd-nosign'"),
        ({"mixed_at": "d"}, "unknown mixed_at 'd'"),
        ({"eps": 0}, "eps is 0/255; it must lie above 0"),
        ({"eps": -0.1}, "eps is -25.5/255; it must lie above 0"),
        ({"eps": math.nan}, "eps is nan/255; it must lie above 0"),
        ({"eps": 8}, "eps is 2040/255; it must lie above 0 and at most at 255/255"),
    ],
)
def test_a_setting_without_meaning_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FastBAT(**{"eps": 8 / 255} | settings)


@pytest.mark.parametrize("method", [FastAT, PgdAT])
@pytest.mark.parametrize("eps", [0, 8])
def test_the_baselines_refuse_the_same_budgets(method: type[Method], eps: float) -> None:
    with pytest.raises(InputError, match=rf"eps is {255 * eps}/255; it must lie above 0"):
        method(eps=eps)


def test_pgd_at_takes_a_step() -> None:
    with pytest.raises(InputError, match="steps is 0; it must be at least 1"):
        PgdAT(eps=8 / 255, steps=0)


# What an update costs.


class Counting(nn.Module):
    """A model that counts its forward passes, and the backward passes that build a graph of themselves."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forwards = self.graphs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        return CountGraphs.apply(self.model(x), self)


class CountGraphs(torch.autograd.Function):
    """The identity; tells its counter of every backward pass made with create_graph."""

    @staticmethod
    def forward(ctx, logits: Tensor, counter: Counting) -> Tensor:
        ctx.counter = counter
        return logits.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.counter.graphs += torch.is_grad_enabled()
        return gradient, None


@pytest.mark.parametrize(
    ("method", "forwards", "graphs"),
    [
        (FastBAT(8 / 255, linearise="pgd-nosign", ig_mode="hessian-free"), 3, 1),
        (FastBAT(8 / 255, linearise="pgd-sign", ig_mode="hessian-free"), 3, 1),
        (FastBAT(8 / 255, linearise="uniform", ig_mode="hessian-free"), 2, 1),
        (FastBAT(8 / 255, linearise="corner", ig_mode="hessian-free"), 2, 1),
        (FastBAT(8 / 255, linearise="pgd-nosign", mixed_at="delta", ig_mode="hessian-free"), 4, 1),
        (FastBAT(8 / 255, linearise="pgd-sign", mixed_at="delta", ig_mode="hessian-free"), 4, 1),
        (FastBAT(8 / 255, linearise="uniform", mixed_at="delta", ig_mode="hessian-free"), 3, 1),
        (FastBAT(8 / 255, linearise="corner", mixed_at="delta", ig_mode="hessian-free"), 3, 1),
        (FastBAT(8 / 255, ig_weight=0), 3, 0),  # no second order, no pass for it
        (FastBAT(8 / 255, ig_weight=0, mixed_at="delta"), 3, 0),
        (FastBAT(8 / 255, ig_weight=0, linearise="corner"), 2, 0),
        (FastAT(8 / 255), 2, 0),
        (PgdAT(8 / 255), 3, 0),
        (PgdAT(8 / 255, steps=7), 8, 0),
        (Standard(), 1, 0),
    ],
    ids=repr,
)
def test_passes_of_an_update(method: Method, forwards: int, graphs: int) -> None:
    model = Counting(smooth_net(0))
    update(method, model, images(0))
    assert (model.forwards, model.graphs) == (forwards, graphs)


# The baselines.


def trained_on(model: nn.Module, batch: Batch, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean CE(x + delta) and its gradient, flat."""
    loss = F.cross_entropy(model(batch.x + delta), batch.y)
    return loss.detach(), flat(list(torch.autograd.grad(loss, list(model.parameters()))))


@pytest.mark.parametrize(
    ("settings", "steps", "step_255"),
    [({}, 2, 4), ({"steps": 1}, 1, 4), ({"steps": 7, "step": 2 / 255}, 7, 2)],
)
def test_pgd_at_is_its_steps_written_out(settings: dict, steps: int, step_255: float) -> None:
    method, eps = PgdAT(eps=8 / 255, **settings), 8 / 255
    model, batch = batch_norm_net(2), images(2)
    torch.manual_seed(NOISE_SEED)
    delta = clip(batch.x, eps * (2 * torch.rand_like(batch.x) - 1), eps)
    for _ in range(steps):
        direction = torch.sign(summed_gradient(model, batch.x, batch.y, delta))
        delta = clip(batch.x, delta + step_255 / 255 * direction, eps)
    expected_value, expected = trained_on(model, batch, delta)
    value, gradient = update(method, model, batch)
    assert value.item() == pytest.approx(expected_value.item(), rel=1e-14)
    assert off(gradient, expected) < 1e-12
    mean_free = free(batch.x, delta, eps).mean().item()
    assert batch.log["active"].item() == pytest.approx(1 - mean_free, abs=1e-15)
    assert 0 < mean_free < 1


@pytest.mark.parametrize("step_ratio", [1.25, 0.5])
def test_fast_at_is_its_step_written_out(step_ratio: float) -> None:
    eps, model, batch = 8 / 255, batch_norm_net(3), images(3)
    torch.manual_seed(NOISE_SEED)
    start = clip(batch.x, eps * (2 * torch.rand_like(batch.x) - 1), eps)
    direction = torch.sign(summed_gradient(model, batch.x, batch.y, start))
    delta = clip(batch.x, start + step_ratio * eps * direction, eps)
    expected_value, expected = trained_on(model, batch, delta)
    value, gradient = update(FastAT(eps=eps, step_ratio=step_ratio), model, batch)
    assert value.item() == pytest.approx(expected_value.item(), rel=1e-14)
    assert off(gradient, expected) < 1e-12


def test_standard_training_is_cross_entropy_on_clean_images() -> None:
    model, batch = batch_norm_net(4), images(4)
    expected_value, expected = trained_on(model, batch, torch.zeros_like(batch.x))
    value, gradient = update(Standard(eps=8 / 255), model, batch)
    assert torch.equal(value, expected_value)
    assert torch.equal(gradient, expected)
    assert Standard(eps=8 / 255).eps == 0
