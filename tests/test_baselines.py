"""The baselines against their formulas, written out plainly, in float64 and on a network with BatchNorm.

For each method one update or several: the loss, the gradient it accumulates, what BatchNorm has seen, and what is
remembered. Also: the gradient alignment of a linear model is 1 and its penalty 0; FREE-AT spends one backward pass a
replay; YOPO's first layer sums 2K gradients and the other layers K; a perturbation that ATTA stores survives a crop
and a flip exactly.
"""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.data.batch import Batch, View
from fastbat.methods import (
    NFGSM,
    Atta,
    BackSmooth,
    FastATGA,
    FreeAT,
    Method,
    Pgd2AT,
    Pgd7AT,
    PgdAT,
    Trades,
    Yopo,
)
from fastbat.methods.fast_at_ga import mean_cosine
from fastbat.models import build_model

CLASSES = 5
NOISE_SEED = 77
BUDGETS = [8 / 255, 16 / 255]
budgets = pytest.mark.parametrize("eps", BUDGETS)


def batch_norm_net(seed: int) -> nn.Module:
    """Return a PreActResNet-18 of width 4 in train mode that has seen other images: eval mode is another function."""
    torch.manual_seed(seed)
    model = build_model("preactresnet18", num_classes=CLASSES, width=4, mean=(0.5,) * 3, std=(0.25,) * 3).double()
    with torch.no_grad():
        for other in range(20):
            model.train()(images(100 + other).x)
    return model


def images(seed: int, size: int = 6) -> Batch:
    """Return images (size, 3, 8, 8); about a seventh of the pixels are exactly 0 and a seventh exactly 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(size, 3, 8, 8, dtype=torch.float64, generator=generator)
    return Batch((1.4 * noise - 0.2).clamp(0, 1), torch.randint(CLASSES, (size,), generator=generator))


def update(method: Method, model: nn.Module, batch: Batch, seed: int = NOISE_SEED) -> float:
    """Accumulate the gradients of one update with the noise of `seed`; return the sum of its losses."""
    torch.manual_seed(seed)
    value = 0.0
    for loss in method.losses(model, batch):
        loss.backward()
        value += loss.item()
    return value


def assert_agree(model: nn.Module, plain: nn.Module) -> None:
    """Both have the same weights, the same accumulated gradients and the same BatchNorm statistics."""
    for (name, found), true in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(found, true), name
        assert off(found.grad, true.grad) < 1e-11, name
    for (name, found), true in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert off(found, true) < 1e-12, name


def off(found: Tensor, true: Tensor) -> float:
    """Return the relative error |found - true| / |true|."""
    return ((found - true).double().norm() / true.double().norm()).item()


# The definitions, written a second time and plainly.


def clip(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """Clip first to the budget, then to the image."""
    return (x + delta.clamp(-eps, eps)).clamp(0, 1) - x


def uniform(x: Tensor, size: float) -> Tensor:
    return size * (2 * torch.rand_like(x) - 1)


def ce(logits: Tensor, y: Tensor) -> Tensor:
    """Return the CE of every image."""
    return logits.exp().sum(1).log() - logits[range(len(y)), y]


def kl(first: Tensor, second: Tensor) -> Tensor:
    """Return KL(softmax(first) || softmax(second)) of every image."""
    p, q = first.softmax(1), second.softmax(1)
    return (p * (p.log() - q.log())).sum(1)


def slope(function: Callable[[Tensor], Tensor], delta: Tensor) -> Tensor:
    """Return the gradient at delta of the sum of what `function` gives for every image."""
    delta = delta.detach().requires_grad_()
    return torch.autograd.grad(function(delta).sum(), delta)[0]


def climb(model: nn.Module, batch: Batch, delta: Tensor, eps: float, step: float) -> Tensor:
    """Return P(d + step sign g(d)), g of the CE."""
    g = slope(lambda d: ce(model(batch.x + d), batch.y), delta)
    return clip(batch.x, delta + step * g.sign(), eps)


def check(method: Method, plainly: Callable[[nn.Module, Batch], Tensor], seed: int = 0) -> None:
    """One update by `method` is one backward pass of the loss that `plainly` returns."""
    model, batch = batch_norm_net(seed), images(seed)
    plain = deepcopy(model)
    seen: list[Tensor] = []
    with plain.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach())):
        torch.manual_seed(NOISE_SEED)
        loss = plainly(plain, batch)
    loss.backward()
    assert (seen[-1] - batch.x).abs().mean() > 0.1 * method.eps  # there is an attack to be wrong about
    assert update(method, model, batch) == pytest.approx(loss.item(), rel=1e-13)
    assert_agree(model, plain)


# PGD-2-AT and PGD-7-AT.


@pytest.mark.parametrize(
    ("method", "steps", "step_255"),
    [
        (Pgd2AT(8 / 255), 2, 4),
        (Pgd2AT(16 / 255), 2, 8),
        (Pgd7AT(8 / 255), 7, 2),
        (Pgd7AT(16 / 255), 7, 2),  # at every eps
        (Pgd7AT(16 / 255, step=4 / 255), 7, 4),  # eps / 4
        (PgdAT(8 / 255), 2, 4),
        (PgdAT(8 / 255, steps=3, step=1 / 255), 3, 1),
        (PgdAT(8 / 255, init="zero"), 2, 4),
        (Pgd2AT(16 / 255, init="zero"), 2, 8),
    ],
    ids=repr,
)
def test_pgd_at_and_its_presets(method: PgdAT, steps: int, step_255: int) -> None:
    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        start = uniform(batch.x, method.eps) if method.init == "random" else torch.zeros_like(batch.x)
        delta = clip(batch.x, start, method.eps)
        for _ in range(steps):
            delta = climb(model, batch, delta, method.eps, step_255 / 255)
        return ce(model(batch.x + delta), batch.y).mean()

    check(method, plainly)


# FAST-AT-GA.


@pytest.mark.parametrize("penalty", ["double", "tangent"])
@pytest.mark.parametrize("init", ["zero", "random"])
@pytest.mark.parametrize(("eps", "mu"), [(8 / 255, 0.2), (16 / 255, 2.0)])
def test_fast_at_ga(eps: float, mu: float, init: str, penalty: str) -> None:
    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        start = clip(x, uniform(x, eps), eps) if init == "random" else torch.zeros_like(x)
        constant = slope(lambda d: ce(model(x + d), y), start)
        noise = uniform(x, eps).requires_grad_()  # not clipped to the image box
        (moving,) = torch.autograd.grad(ce(model(x + noise), y).sum(), noise, create_graph=True)
        cosines = (constant * moving).sum((1, 2, 3)) / constant.norm(2, (1, 2, 3)) / moving.norm(2, (1, 2, 3))
        delta = clip(x, start + 1.25 * eps * constant.sign(), eps)
        return ce(model(x + delta), y).mean() + mu * (1 - cosines.mean())

    method = FastATGA(eps, init=init, penalty=penalty)
    assert method.resolved["mu"] == pytest.approx(mu, rel=1e-12)
    check(method, plainly)
    check(FastATGA(eps, mu=mu, init=init, penalty=penalty), plainly, seed=1)


def linear_model(classes: int) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, classes)).double()


@budgets
def test_the_input_gradients_of_a_linear_model_are_aligned(eps: float) -> None:
    batch = images(2)
    batch = Batch(batch.x, batch.y % 2)
    model, method = linear_model(2), FastATGA(eps, mu=100.0)
    plain = deepcopy(model)
    delta = climb(plain, batch, torch.zeros_like(batch.x), eps, eps)  # the FGSM attack
    loss = ce(plain(batch.x + delta), batch.y).mean()
    loss.backward()
    assert update(method, model, batch) == pytest.approx(loss.item(), rel=1e-12)
    assert batch.log["alignment"].item() == pytest.approx(1, abs=1e-14)
    assert all(
        off(found.grad, true.grad) < 1e-11 for found, true in zip(model.parameters(), plain.parameters(), strict=True)
    )


class Blind(nn.Module):
    """A linear model that sees the images whose first pixel is above `above`; of the rest it sees nothing."""

    def __init__(self, above: float) -> None:
        super().__init__()
        self.above, self.linear = above, linear_model(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x * (x[:, :1, :1, :1] > self.above))


def test_images_without_an_input_gradient_are_left_out_of_the_alignment() -> None:
    eps, batch = 0.3, images(3)
    x = batch.x.clone()
    x[:, 0, 0, 0] = torch.tensor([0.1, 0.9, 0.1, 0.9, 0.9, 0.1], dtype=x.dtype)
    y, some = batch.y % 3, x[:, 0, 0, 0] > 0.5
    method, model, seeing = FastATGA(eps), Blind(0.5), linear_model(3)
    update(method, model, batch := Batch(x, y))
    torch.manual_seed(NOISE_SEED)
    at_noise = slope(lambda d: ce(seeing(x + d), y), uniform(x, eps)).flatten(1)
    at_zero = slope(lambda d: ce(seeing(x + d), y), torch.zeros_like(x)).flatten(1)
    cosines = (at_zero * at_noise).sum(1) / at_zero.norm(2, 1) / at_noise.norm(2, 1)
    assert batch.log["alignment"].item() == pytest.approx(cosines[some].mean().item(), rel=1e-12)
    assert cosines[some].mean() < 1 - 1e-5
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_without_any_input_gradient_there_is_no_penalty() -> None:
    batch = replace(images(4), y=images(4).y % 3)
    method, model = FastATGA(8 / 255), Blind(2.0)
    expected = ce(model(batch.x), batch.y).mean().item()
    assert update(method, model, batch) == pytest.approx(expected, rel=1e-14)
    assert batch.log["alignment"] == 1
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert any(p.grad.any() for p in model.parameters())


def test_the_cosine_of_either_zero_is_left_out() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 0.0], [3.0, 4.0], [1.0, 1.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 0.0], [1.0, 2.0], [4.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    assert mean_cosine(a, b, images(0, len(a))).item() == pytest.approx((1 + 24 / 25) / 2, rel=1e-15)
    assert mean_cosine(a, -b, images(0, len(a))).item() == pytest.approx(-(1 + 24 / 25) / 2, rel=1e-15)
    assert mean_cosine(a[1:2], b[1:2], images(0, len(a[1:2]))) == 1


# FREE-AT.


def counted(model: nn.Module) -> Counter[str]:
    """Count from now on the forward passes, the backward passes, and the gradients added to every weight."""
    counts: Counter[str] = Counter()

    class Count(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, logits: Tensor) -> Tensor:
            counts["forward"] += 1
            return logits.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            counts["backward"] += 1
            return gradient

    model.register_forward_hook(lambda _, __, logits: Count.apply(logits))
    for name, weights in model.named_parameters():
        weights.register_hook(lambda _, name=name: counts.update([name]))
    return counts


@pytest.mark.parametrize("replays", [1, 3])
def test_free_at_over_replays_and_minibatches(replays: int) -> None:
    eps, batches = 8 / 255, [images(0), images(1), images(2, size=4), images(3)]
    method, model = FreeAT(eps, replays=replays), batch_norm_net(0)
    plain = deepcopy(model)
    optimizer, other = (torch.optim.SGD(each.parameters(), lr=0.02) for each in (model, plain))
    kept = torch.zeros_like(batches[0].x)  # lives on from minibatch to minibatch
    for batch in batches:
        count = len(batch.x)
        for _ in range(replays):
            optimizer.zero_grad()
            value = update(method, model, batch)
            optimizer.step()

            other.zero_grad()
            delta = kept[:count].clone().requires_grad_()  # as it is: the images it was projected for may be others
            loss = ce(plain(batch.x + delta), batch.y).mean()
            loss.backward()  # gives both gradients
            other.step()
            kept[:count] = clip(batch.x, delta.detach() + eps * delta.grad.sign(), eps)
            assert value == pytest.approx(loss.item(), rel=1e-11)
            assert off(method.state_dict()["delta"], kept) < 1e-12
    for (name, found), true in zip(model.state_dict().items(), plain.state_dict().values(), strict=True):
        assert off(found, true) < 1e-9, name


def test_free_at_spends_one_backward_pass_a_replay() -> None:
    model, method = batch_norm_net(0), FreeAT(8 / 255)
    weights = [name for name, _ in model.named_parameters()]
    counts = counted(model)
    assert method.replays == 8
    for seed in range(2):
        for _ in range(method.replays):
            update(method, model, images(seed))
    assert counts == Counter(dict.fromkeys(["forward", "backward", *weights], 16))


def test_free_at_starts_at_zero_and_further_rows_too() -> None:
    method, model = FreeAT(8 / 255), batch_norm_net(0)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    batches = [images(0, size=4), images(1)]
    for batch in batches:
        update(method, model, batch)
    assert torch.equal(seen[0], batches[0].x)
    assert torch.equal(seen[1][4:], batches[1].x[4:])
    assert (seen[1][:4] - batches[1].x[:4]).abs().max().item() == pytest.approx(8 / 255)


# YOPO.


def yopo_plainly(model: nn.Module, batch: Batch, eps: float, k: int, n: int, step: float) -> float:
    """Accumulate YOPO-k-n's gradients; return the sum of the k losses and of the k values -H."""
    x, y, net = batch.x, batch.y, model.network
    value = 0.0

    def first(images: Tensor) -> Tensor:
        return net.stem(model.normalize(images))

    def rest(h: Tensor) -> Tensor:
        return net.linear(net.act(net.bn(net.stages(h))).mean((2, 3)))

    delta = uniform(x, eps)  # not clipped
    for _ in range(k):
        h = first(x + delta)
        h.retain_grad()
        loss = ce(rest(h), y).mean()
        loss.backward()
        p = -h.grad
        for _ in range(n):  # descent on H = <p, f0(x + d)>
            down = slope(lambda d, p=p: p * first(x + d), delta).sign()
            delta = clip(x, torch.where((clip(x, delta, eps) - delta).abs() < 1e-12, delta - step * down, delta), eps)
        hamiltonian = (p * first(x + delta)).sum()
        (-hamiltonian).backward()
        value += loss.item() - hamiltonian.item()
    return value


@pytest.mark.parametrize(
    ("method", "k", "n", "step"),
    [
        (Yopo(8 / 255), 5, 3, 2 / 255),
        (Yopo(16 / 255), 5, 3, 4 / 255),
        (Yopo(8 / 255, outer=2, inner=4, step=1 / 255), 2, 4, 1 / 255),
    ],
    ids=repr,
)
def test_yopo(method: Yopo, k: int, n: int, step: float) -> None:
    model, batch = batch_norm_net(0), images(0)
    plain = deepcopy(model)
    torch.manual_seed(NOISE_SEED)
    value = yopo_plainly(plain, batch, method.eps, k, n, step)
    assert update(method, model, batch) == pytest.approx(value, rel=1e-12)
    assert_agree(model, plain)


def test_yopo_gives_the_first_layer_2k_gradients_and_the_others_k() -> None:
    model = batch_norm_net(0)
    counts, layer = counted(model), model.network.stem
    layer.register_forward_hook(lambda *_: counts.update(["first layer"]))
    update(Yopo(8 / 255), model, images(0))
    once = dict.fromkeys([name for name, _ in model.named_parameters()], 5)
    once |= {"forward": 5, "backward": 5}
    assert counts == Counter(once | {"network.stem.weight": 10, "first layer": 5 * (1 + 3 + 1)})


# ATTA.

PAD = 2


def view_of(seed: int, size: int) -> View:
    generator = torch.Generator().manual_seed(seed)
    top, left = (torch.randint(2 * PAD + 1, (size,), generator=generator) for _ in range(2))
    return View(top, left, torch.rand(size, generator=generator) < 0.5, PAD)


def crop(canvas: Tensor, view: View) -> Tensor:
    """Crop and flip canvas by canvas."""
    height, width = canvas.shape[2] - 2 * view.pad, canvas.shape[3] - 2 * view.pad
    windows = []
    for image, top, left, flip in zip(canvas, view.top, view.left, view.flip, strict=True):
        window = image[:, top : top + height, left : left + width]
        windows.append(window.flip(2) if flip else window)
    return torch.stack(windows)


@pytest.mark.parametrize("seed", range(3))
def test_a_stored_perturbation_survives_crop_and_flip_and_back(seed: int) -> None:
    view = view_of(seed, size=20)
    canvas = torch.randn(20, 3, 9, 12)
    assert view.flip.any()
    assert not view.flip.all()
    assert torch.equal(view.window(canvas), crop(canvas, view))
    untouched = canvas.clone()
    view.put(canvas, view.window(canvas))
    assert torch.equal(canvas, untouched)
    windows = torch.randn(20, 3, 5, 8)
    view.put(canvas, windows)
    assert torch.equal(crop(canvas, view), windows)
    outside = crop_mask(canvas, view)
    assert torch.equal(canvas[outside], untouched[outside])  # only the window is written
    assert (canvas != untouched)[~outside].all()


def crop_mask(canvas: Tensor, view: View) -> Tensor:
    """Return where the canvases lie outside of their windows."""
    outside = torch.ones_like(canvas, dtype=torch.bool)
    for mask, top, left in zip(outside, view.top, view.left, strict=True):
        mask[:, top : top + canvas.shape[2] - 2 * view.pad, left : left + canvas.shape[3] - 2 * view.pad] = False
    return outside


def atta_batches(epochs: int) -> list[tuple[int, Tensor, Batch]]:
    """Return (epoch, images, their views as a batch), two batches an epoch in another order; the second is ragged."""
    stored = images(5, size=9)
    batches = []
    for epoch in range(1, epochs + 1):
        order = torch.randperm(9, generator=torch.Generator().manual_seed(epoch))
        for index in order.split(5):
            view = view_of(int(100 * epoch + len(index)), len(index))
            batches.append((epoch, stored.x[index], Batch(view.apply(stored.x[index]), stored.y[index], index, view)))
    return batches


@pytest.mark.parametrize("loss", ["trades", "ce"])
@budgets
def test_atta_over_epochs(eps: float, loss: str) -> None:
    step = eps * 15 / 31  # 0.015 at 0.031
    method, model = Atta(eps, loss=loss, reset=3), batch_norm_net(5)
    plain = deepcopy(model)
    optimizer, other = (torch.optim.SGD(each.parameters(), lr=0.01) for each in (model, plain))
    kept = torch.zeros(9, 3, 8 + 2 * PAD, 8 + 2 * PAD, dtype=torch.float64)
    for epoch, stored, batch in atta_batches(epochs=4):
        optimizer.zero_grad()
        value = update(method, model, batch, seed=epoch)
        optimizer.step()

        other.zero_grad()
        x = crop(F.pad(stored, (PAD,) * 4, value=0.5), batch.view)
        clean = Batch(x, batch.y)
        torch.manual_seed(epoch)
        noise = 0.001 * torch.randn_like(kept[batch.index])
        if epoch in (1, 3):
            kept[batch.index] = noise
        start = crop(kept[batch.index], batch.view)  # not clipped
        delta = climb(plain.eval(), clean, start, eps, step)
        plain.train()
        assert (delta - start).abs().mean() > 0.1 * eps
        expected = atta_loss(loss, plain, clean, delta)
        expected.backward()
        other.step()
        canvas = kept[batch.index]
        batch.view.put(canvas, delta)
        kept[batch.index] = canvas

        assert value == pytest.approx(expected.item(), rel=1e-10)
        canvases = method.state_dict()["canvas"][batch.index]
        assert (canvases - canvas).abs().max() < 1e-12
    assert (method.state_dict()["canvas"][:9] - kept).abs().max() < 1e-12
    for (name, found), true in zip(model.state_dict().items(), plain.state_dict().values(), strict=True):
        assert off(found, true) < 1e-9, name


def atta_loss(loss: str, model: nn.Module, batch: Batch, delta: Tensor) -> Tensor:
    if loss == "ce":
        return ce(model(batch.x + delta), batch.y).mean()
    logits = model(batch.x)
    return ce(logits, batch.y).mean() + 6 * kl(logits, model(batch.x + delta)).mean()


@pytest.mark.parametrize("settings", [{}, {"reset": 4}])
def test_atta_starts_again_every_so_many_epochs(settings: dict[str, int]) -> None:
    batch = images(6)
    view = View(*(torch.full((6,), PAD),) * 2, torch.zeros(6, dtype=torch.bool), PAD)
    method, model = Atta(8 / 255, **settings), linear_model(CLASSES)
    fresh = []
    for epoch in range(1, 25):
        update(method, model, Batch(batch.x, batch.y, torch.arange(6), view), seed=epoch)
        torch.manual_seed(epoch)
        canvas = method.state_dict()["canvas"][:6]
        corner = 0.001 * torch.randn_like(canvas)[0, 0, 0, 0]  # outside of the window: as it was drawn
        if canvas[0, 0, 0, 0] == corner:
            fresh.append(epoch)
    every = settings.get("reset", 10)
    assert fresh == [1, *range(every, 25, every)]


# BACKSMOOTH, N-FGSM, TRADES.


@pytest.mark.parametrize("settings", [{}, {"gamma": 0.3, "beta": 6.0}])
@budgets
def test_backsmooth(eps: float, settings: dict[str, float]) -> None:
    gamma, beta = settings.get("gamma", 1.0), settings.get("beta", 10.0)

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        model.eval()
        with torch.no_grad():
            clean = model(x)
        smoothed = clean + uniform(clean, gamma)
        toward = slope(lambda d: kl(smoothed, model(x + d)), torch.zeros_like(x))
        start = clip(x, -eps * toward.sign(), eps)
        away = slope(lambda d: kl(clean, model(x + d)), start)
        delta = clip(x, start + eps * away.sign(), eps)
        model.train()
        logits = model(x)
        return ce(logits, y).mean() + beta * kl(logits, model(x + delta)).mean()

    check(BackSmooth(eps, **settings), plainly)


@pytest.mark.parametrize("settings", [{}, {"noise_ratio": 0.5, "step_ratio": 1.5}])
@budgets
def test_n_fgsm(eps: float, settings: dict[str, float]) -> None:
    noise_ratio, step_ratio = settings.get("noise_ratio", 2.0), settings.get("step_ratio", 1.0)

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        noisy = (x + uniform(x, noise_ratio * eps)).clamp(0, 1)
        g = slope(lambda image: ce(model(image), y), noisy)
        return ce(model((noisy + step_ratio * eps * g.sign()).clamp(0, 1)), y).mean()

    check(NFGSM(eps, **settings), plainly)


@pytest.mark.parametrize("settings", [{}, {"steps": 3, "beta": 2.0, "step": 1 / 255}])
@budgets
def test_trades(eps: float, settings: dict[str, float]) -> None:
    steps, beta, step = (settings.get(*each) for each in (("steps", 10), ("beta", 6.0), ("step", eps * 7 / 31)))

    def plainly(model: nn.Module, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        delta = 0.001 * torch.randn_like(x)  # not clipped
        model.eval()
        clean = model(x).detach()
        for _ in range(steps):
            g = slope(lambda d: kl(clean, model(x + d)), delta)
            delta = clip(x, delta + step * g.sign(), eps)
        model.train()
        logits = model(x)
        return ce(logits, y).mean() + beta * kl(logits, model(x + delta)).mean()

    check(Trades(eps, **settings), plainly)


@pytest.mark.parametrize("size", [1e-25, 1e-21, 1.0, 1e25])
def test_the_alignment_does_not_depend_on_the_gradients_size(size: float) -> None:
    a = size * torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 1.0]])  # float32: squares of the smallest are 0
    assert mean_cosine(a, 2 * a, images(0, len(a))).item() == pytest.approx(1, abs=1e-6)
    assert mean_cosine(a, -a, images(0, len(a))).item() == pytest.approx(-1, abs=1e-6)
