"""The recent fast methods against their formulas, written out plainly, in float64 and on a network with BatchNorm.

For each method one update, or several where it remembers something: the loss, the gradient, what BatchNorm has seen,
and what is remembered. Also: N-FGSM's family has FAST-AT among its members.
"""

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.data.batch import Batch
from fastbat.errors import InputError
from fastbat.methods import NFGSM, ElleA, FastAT, FgsmMep, FgsmRsCs, FgsmUap, Liet, Method, NuAT, Sora, Tdat
from fastbat.methods.nuat import nuclear_norm
from fastbat.runtime.modes import statistics_kept
from test_baselines import (
    CLASSES,
    NOISE_SEED,
    assert_agree,
    batch_norm_net,
    budgets,
    ce,
    check,
    clip,
    images,
    linear_model,
    off,
    slope,
    uniform,
    update,
)

# The definitions, written a second time and plainly.


def relaxed(y: Tensor, mass: float) -> Tensor:
    """Return targets (B, K): `mass` on the true class, the others share the rest."""
    rows = [[mass if k == label else (1 - mass) / (CLASSES - 1) for k in range(CLASSES)] for label in y.tolist()]
    return torch.tensor(rows, dtype=torch.float64)


def ce_to(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the CE of every image to its target."""
    return -(targets * (logits - logits.exp().sum(1, keepdim=True).log())).sum(1)


def in_image(x: Tensor, delta: Tensor) -> Tensor:
    return (x + delta).clamp(0, 1) - x


def check_updates(
    method: Method, batches: Iterable[Batch], plainly: Callable[[nn.Module, Batch], Tensor], seed: int = 0
) -> nn.Module:
    """Several updates by `method` are each one backward pass of the loss that `plainly` returns; return the network."""
    model = batch_norm_net(seed)
    plain = deepcopy(model)
    for number, batch in enumerate(batches):
        torch.manual_seed(NOISE_SEED + number)
        loss = plainly(plain, batch)
        plain.zero_grad()
        loss.backward()
        model.zero_grad()
        assert update(method, model, batch, NOISE_SEED + number) == pytest.approx(loss.item(), rel=1e-12)
        assert_agree(model, plain)
        with torch.no_grad():
            for mine, true in zip(model.parameters(), plain.parameters(), strict=True):
                mine.copy_(true.sub_(0.02 * true.grad))
    return model


# N-FGSM's family, FGSM-RS-CS.


@budgets
@pytest.mark.parametrize(
    "settings", [{"target_mass": 0.6}, {"noise_ratio": 1.0, "clip": True}, {"target_mass": 0.3, "clip": True}]
)
def test_n_fgsm_clipped_and_with_other_targets(eps: float, settings: dict[str, float]) -> None:
    method = NFGSM(eps, **settings)

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        into = (lambda d: clip(x, d, eps)) if method.clip else (lambda d: in_image(x, d))
        noise = into(uniform(x, method.noise_ratio * eps))
        delta = into(noise + eps * slope(lambda d: ce(model(x + d), y), noise).sign())
        return ce_to(model(x + delta), relaxed(y, method.target_mass)).mean()

    check(method, plainly)


def test_n_fgsm_with_fast_ats_settings_is_fast_at() -> None:
    model, batch = batch_norm_net(0), images(0)
    other = deepcopy(model)
    update(NFGSM(8 / 255, noise_ratio=1.0, step_ratio=1.25, clip=True), model, batch)
    update(FastAT(8 / 255), other, batch)
    assert_agree(model, other)


@pytest.mark.parametrize("settings", [{}, {"constraint": 0.5, "tolerance": 0.0, "target_mass": 0.5}])
def test_fgsm_rs_cs_over_epochs(settings: dict[str, float]) -> None:
    eps = 16 / 255
    method = FgsmRsCs(eps, **settings)
    w, tolerance, mass = (
        settings.get(*each) for each in (("constraint", 1.0), ("tolerance", 0.03), ("target_mass", 0.6))
    )
    stored, epoch, seen, means, turns = images(0, size=10), 0, [], [], []
    order = torch.tensor([3, 0, 8, 5, 1, 9, 2, 7, 4, 6])

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y, targets = batch.x, batch.y, relaxed(batch.y, mass)
        noise = in_image(x, uniform(x, eps))
        delta = in_image(x, noise + eps * slope(lambda d: ce(model(x + d), y), noise).sign())
        with statistics_kept(model):  # theirs is a pass more
            c = ce_to(model(x + noise), targets).mean()
        seen.append((c.item(), len(y)))
        loss = ce_to(model(x + delta), targets).mean()
        if epoch >= 2 and abs(c.item() - means[-1]) > tolerance:
            turns.append(c.item() > means[-1])
            loss = loss + w * c if c.item() > means[-1] else loss - w * c
        return loss

    def epochs() -> Iterable[Batch]:
        nonlocal epoch
        for epoch in range(4):
            for part in order.roll(3 * epoch).split([6, 4]):
                yield Batch(stored.x[part], stored.y[part], part)
            means.append(sum(c * n for c, n in seen) / 10)
            seen.clear()

    check_updates(method, epochs(), plainly)
    assert len(turns) >= 2
    assert method.state_dict()["before"].item() == pytest.approx(means[2], rel=1e-12)


def test_fgsm_rs_cs_without_its_constraint_is_of_n_fgsms_family() -> None:
    model, batch = batch_norm_net(0), images(0)
    other = deepcopy(model)
    update(FgsmRsCs(8 / 255, constraint=0.0), model, batch)
    update(NFGSM(8 / 255, noise_ratio=1.0, target_mass=0.6), other, batch)
    assert_agree(model, other)


def test_fgsm_rs_cs_says_what_a_batch_lacks() -> None:
    with pytest.raises(InputError, match="its batches need each image's index, or constraint 0"):
        next(FgsmRsCs(8 / 255).losses(batch_norm_net(0), images(0)))


# LIET.


def random_targets(y: Tensor, share: float) -> Tensor:
    """Return targets (B, K): 1 - share on the true class, the rest shared out by new weights U(0, 1)."""
    weights = (uniform(torch.zeros(len(y), CLASSES, dtype=torch.float64), 1.0) + 1) / 2
    rows = []
    for label, row in zip(y.tolist(), weights, strict=True):
        others = sum(row[k] for k in range(CLASSES) if k != label)
        rows.append([1 - share if k == label else share * row[k] / others for k in range(CLASSES)])
    return torch.tensor(rows, dtype=torch.float64)


def jsd(a: Tensor, b: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of every image."""
    p, q = a.softmax(1), b.softmax(1)
    m = (p + q) / 2
    return ((p * (p / m).log() + q * (q / m).log()) / 2).sum(1)


@pytest.mark.parametrize(
    ("eps", "settings"),
    [
        (8 / 255, (0.6, 100, 0.1, 0.5, 1, 20, True)),
        (12 / 255, (0.4, 20, 0.0, 1.0, 2, 10, False)),
        (16 / 255, (0.4, 20, 0.0, 1.0, 2, 10, False)),
    ],
)
def test_liet_over_updates(eps: float, settings: tuple[float, ...]) -> None:
    share, lam, low, high, c, refresh, clipped = settings
    method, known, grey = Liet(eps), [], torch.full((CLASSES, 3, 8, 8), 0.5, dtype=torch.float64)

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        if batch.step % refresh == 0 or not known:
            model.eval()
            targets = random_targets(torch.arange(CLASSES), share)
            known.append(eps * slope(lambda d: ce_to(model(grey + d), targets), torch.zeros_like(grey)).sign())
            model.train()
        once, sign = uniform(x[:1, :1, :1, :1], 1.0), uniform(x[:1, :1, :1, :1], 1.0).sign()
        rho = low + (high - low) * (1 + once) / 2
        erased = (uniform(x, 1.0) + 1) / 2 < rho
        delta = torch.where(erased, uniform(x, c * eps), known[-1][y])
        start = in_image(x, sign * delta)
        targets = random_targets(y, share)
        g = slope(lambda d: ce_to(model(x + d), targets), start)
        with statistics_kept(model):
            first = model(x + start)
        delta = clip(x, start + eps * g.sign(), eps) if clipped else in_image(x, start + eps * g.sign())
        logits = model(x + delta)
        return ce_to(logits, random_targets(y, share)).mean() + lam * batch.progress * jsd(first, logits).mean()

    steps = [3, refresh, refresh + 1]  # LI is found in the first update, whatever its number, and in the second
    batches = [replace(images(step), step=step, progress=0.1 * (k + 1)) for k, step in enumerate(steps)]
    check_updates(method, batches, plainly)
    assert len(known) == 2
    assert (known[0] != known[1]).any()
    assert torch.equal(method.state_dict()["delta"], known[1])


def test_liet_says_what_a_batch_lacks() -> None:
    with pytest.raises(InputError, match="the method needs to know each batch's progress"):
        next(Liet(8 / 255).losses(batch_norm_net(0), images(0)))


# FGSM-MEP.


@pytest.mark.parametrize("settings", [{}, {"target_mass": 0.8, "consistency": 3.0, "decay": 0.9, "reset": 2}])
def test_fgsm_mep_over_epochs(settings: dict[str, float]) -> None:
    eps, stored = 8 / 255, images(0, size=10)
    defaults = {"target_mass": 0.6, "consistency": 10, "decay": 0.3, "reset": 40}
    mass, lam, decay, reset = (defaults | settings).values()
    method, epoch = FgsmMep(eps, **settings), 0
    kept, momentum = torch.zeros_like(stored.x), torch.zeros_like(stored.x)

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, targets, index = batch.x, relaxed(batch.y, mass), batch.index
        corner = eps * uniform(x, 1.0).sign()
        if epoch % reset == 0:
            kept[index], momentum[index] = corner, torch.zeros_like(x)
        g = slope(lambda d: ce_to(model(x + d), targets).mean(), kept[index])
        with statistics_kept(model):
            first = model(x + kept[index])
        delta = clip(x, kept[index] + eps * g.sign(), eps)
        momentum[index] = g / g.abs().sum() + decay * momentum[index]
        kept[index] = clip(x, kept[index] + eps * momentum[index].sign(), eps)
        logits = model(x + delta)
        return ce_to(logits, targets).mean() + lam * ((logits - first) ** 2).mean()

    def epochs() -> Iterable[Batch]:
        nonlocal epoch
        for epoch in range(4):
            for part in torch.arange(10).roll(3 * epoch).split([6, 4]):
                yield Batch(stored.x[part].flip(3) if epoch % 2 else stored.x[part], stored.y[part], part)

    check_updates(method, epochs(), plainly)
    assert off(method.state_dict()["delta"], kept) < 1e-12
    assert off(method.state_dict()["momentum"], momentum) < 1e-9


def test_fgsm_mep_says_what_a_batch_lacks() -> None:
    with pytest.raises(InputError, match="its batches need each image's index"):
        next(FgsmMep(8 / 255).losses(batch_norm_net(0), images(0)))


# TDAT.


@pytest.mark.parametrize("settings", [{}, {"beta": 0.3, "gamma_min": 0.05, "consistency": 2.0}])
def test_tdat_over_updates(settings: dict[str, float]) -> None:
    eps, kept = 8 / 255, torch.zeros(0, 3, 8, 8, dtype=torch.float64)
    beta, least, lam = ({"beta": 0.6, "gamma_min": 0.15, "consistency": 0.6} | settings).values()
    method, gammas = Tdat(eps, **settings), []

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal kept
        x, y, size = batch.x, batch.y, len(batch.y)
        gammas.append(max(beta * math.tan(1 - batch.progress), least))
        if len(kept) < size:
            kept = torch.cat([kept, eps * uniform(x, 1.0).sign()[len(kept) :]])
        g = slope(lambda d: ce_to(model(x + d), relaxed(y, gammas[-1])), kept[:size])
        with statistics_kept(model):
            first = model(x + kept[:size])
        delta = clip(x, kept[:size] + eps * g.sign(), eps)
        kept = torch.cat([delta, kept[size:]])
        logits, p = model(x + delta), first.softmax(1)[range(size), y]
        targets = gammas[-1] * F.one_hot(y, CLASSES).double() + (1 - gammas[-1]) / CLASSES
        moved = torch.tanh(1.0000001 - p) * ((first - logits) ** 2).sum(1)
        return ce_to(logits, targets).mean() + lam * moved.mean()

    sizes = [(6, 0.0), (4, 0.2), (8, 0.6), (6, 0.9)]
    check_updates(method, [replace(images(k, size), progress=t) for k, (size, t) in enumerate(sizes)], plainly)
    assert gammas[0] == pytest.approx(1.557 * beta, abs=1e-3)
    assert gammas[-1] == least < gammas[-2]
    assert off(method.state_dict()["delta"], kept) < 1e-12


# NuAT.


@budgets
@pytest.mark.parametrize("settings", [{}, {"nuclear": 1.5}])
def test_nuat_in_two_updates(eps: float, settings: dict[str, float]) -> None:
    largest = settings.get("nuclear", 4.0)

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y, mu = batch.x, batch.y, largest * batch.progress
        clean = model(x)
        start = in_image(x, -eps / 2 * uniform(x, 1.0).sign())
        model.eval()

        def climbed(d: Tensor) -> Tensor:
            logits = model(x + d)
            term = mu * torch.linalg.svdvals(clean.detach() - logits).sum() if batch.step % 2 else 0.0
            return ce(logits, y).sum() + term

        g = slope(climbed, start)
        model.train()
        delta = clip(x, start + eps * g.sign(), eps)
        return ce(clean, y).mean() + mu * torch.linalg.svdvals(clean - model(x + delta)).sum() / len(y)

    batches = [replace(images(step), step=step, progress=0.2 + 0.3 * step) for step in range(2)]
    check_updates(NuAT(eps, **settings), batches, plainly)


def test_the_term_of_nuats_attack_is_in_every_other_batch() -> None:
    model, batch = batch_norm_net(0), images(0)
    starts = []
    model.register_forward_pre_hook(lambda _, inputs: starts.append(inputs[0].detach()))
    for step in (0, 1, 2):
        update(NuAT(8 / 255, nuclear=100.0), model.eval(), replace(batch, step=step, progress=0.5))
    first, second, third = starts[2::3]  # x, x + d0, x + d in each update
    assert torch.equal(first, third)
    assert (first != second).any()


def test_the_nuclear_norm_is_the_sum_of_the_singular_values() -> None:
    rows = torch.tensor([[3.0, 0.0, 0.0], [0.0, -4.0, 0.0]], dtype=torch.float64)
    assert nuclear_norm(rows).item() == pytest.approx(7, rel=1e-15)
    assert nuclear_norm(rows[:1].repeat(4, 1)).item() == pytest.approx(6, rel=1e-15)  # of rank 1: |.|_F


# ELLE-A.


@pytest.mark.parametrize(
    "settings", [{}, {"sensitivity": 0.0, "decay": 0.5, "linearity": 50.0, "noise_ratio": 2.0, "step_ratio": 0.5}]
)
def test_elle_a_over_updates(settings: dict[str, float]) -> None:
    eps, defaults = 16 / 255, {"noise_ratio": 0, "step_ratio": 1, "linearity": 4000, "decay": 0.99, "sensitivity": 2}
    noise, step, largest, decay, sensitivity = (defaults | settings).values()
    errors, lams = [], [0.0]

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        start = uniform(x, noise * eps)
        delta = start + step * eps * slope(lambda d: ce(model(x + d), y), start).sign()  # not clipped
        loss = ce(model(x + delta), y).mean()
        x_a, x_b = x + uniform(x, eps), x + uniform(x, eps)
        a = (1 + uniform(x[:, :1, :1, :1], 1.0)) / 2
        logits = model(torch.cat([x_a, x_b, (1 - a) * x_a + a * x_b]))
        at_a, at_b, at_c = (ce(part, y) for part in logits.split(len(x)))
        error = ((at_c - (1 - a.flatten()) * at_a - a.flatten() * at_b) ** 2).mean()
        loss = loss + lams[-1] * error
        unusual = len(errors) > 2 and error.item() > np.mean(errors) + sensitivity * np.std(errors)
        lams.append(largest if unusual else decay * lams[-1])
        errors.append(error.item())
        return loss

    method = ElleA(eps, **settings)
    batches = [images(k) for k in range(7)]
    check_updates(method, [*batches, Batch(batches[0].x.round(), batches[0].y)], plainly)
    assert method.state_dict()["lam"].item() == pytest.approx(lams[-1], rel=1e-12)
    assert method.state_dict()["mean"].item() == pytest.approx(np.mean(errors), rel=1e-12)
    assert largest in lams[:-1] or not settings


# SORA.


@pytest.mark.parametrize("settings", [{}, {"step_ratio": 1.0, "curvature": 0.2, "decay": 0.5}])
def test_sora_over_updates(settings: dict[str, float]) -> None:
    eps, linear = 8 / 255, [0.99]
    ratio, curvature, decay = ({"step_ratio": 2.0, "curvature": 0.02, "decay": 0.95} | settings).values()
    logged: list[dict[str, float]] = []

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        step = ratio * eps * min(1, curvature / (1 - linear[-1]))
        start = in_image(x, uniform(x, eps))
        g = slope(lambda d: ce(model(x + d), y), start)
        delta = in_image(x, start + step * (1 + uniform(x, 1.0)) / 2 * g.sign()).requires_grad_()
        loss = ce(model(x + delta), y).mean()
        (after,) = torch.autograd.grad(loss * len(x), delta, retain_graph=True)
        rho = np.mean([(a.sign() * b).sum().item() / a.abs().sum().item() for a, b in zip(g, after, strict=True)])
        linear.append(decay * linear[-1] + (1 - decay) * min(1, max(-1, rho)))
        logged.append({"step_255": 255 * step, "rho": rho})
        return loss

    method, batches = Sora(eps, **settings), [images(k) for k in range(4)]
    check_updates(method, batches, plainly)
    assert method.state_dict()["linearity"].item() == pytest.approx(linear[-1], rel=1e-12)
    assert logged[-1]["step_255"] < logged[0]["step_255"] == 255 * ratio * eps
    for batch, expected in zip(batches, logged, strict=True):
        assert {name: value.item() for name, value in batch.log.items()} == pytest.approx(expected, rel=1e-9)


def test_sora_keeps_its_largest_step_on_a_linear_model() -> None:
    model, batch = linear_model(2), images(2)
    method = Sora(8 / 255)
    for _ in range(3):
        update(method, model, batch := Batch(batch.x, batch.y % 2))
        assert batch.log["step_255"].item() == pytest.approx(16)
        assert batch.log["rho"].item() == pytest.approx(1)


# FGSM-UAP.


@pytest.mark.parametrize(
    "settings",
    [{}, {"per": "class"}, {"per": "class", "uap_ratio": 0.8, "smoothing": 0.1, "consistency": 2.0, "decay": 0.9}],
)
def test_fgsm_uap_over_updates(settings: dict[str, Any]) -> None:
    eps, defaults = 8 / 255, {"per": "all", "uap_ratio": 1.25, "smoothing": 0.4, "consistency": 10, "decay": 0.3}
    per, ratio, share, lam, decay = (defaults | settings).values()
    groups, uaps, momentum = CLASSES if per == "class" else 1, [], []

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        if not uaps:
            uaps.extend(ratio * eps * uniform(torch.zeros(groups, *x.shape[1:], dtype=x.dtype), 1.0).sign())
            momentum.extend(torch.zeros_like(uap) for uap in uaps)
        group = y.tolist() if per == "class" else [0] * len(y)
        targets = (1 - share) * F.one_hot(y, CLASSES).double() + share / CLASSES
        start = clip(x, torch.stack([uaps[k] for k in group]), eps).requires_grad_()
        first = model(x + start)
        (g,) = torch.autograd.grad(ce_to(first, targets).mean(), start, retain_graph=True)
        delta = clip(x, start.detach() + eps * g.sign(), eps)
        logits = model(x + delta)
        moved = lam * ((logits - first) ** 2).mean()
        h = g + torch.autograd.grad(moved, start, retain_graph=True)[0]
        for k in set(group):
            mean = torch.stack([h[i] for i in range(len(y)) if group[i] == k]).mean(0) / h.abs().sum()
            momentum[k] = mean + decay * momentum[k]
            uaps[k] = (uaps[k] + ratio * eps * momentum[k].sign()).clamp(-ratio * eps, ratio * eps)
        return ce_to(logits, targets).mean() + moved

    method = FgsmUap(eps, **settings)
    check_updates(method, [images(k, size) for k, size in enumerate((6, 4, 6))], plainly)
    assert off(method.state_dict()["delta"], torch.stack(uaps)) < 1e-12
    assert off(method.state_dict()["momentum"], torch.stack(momentum)) < 1e-9
