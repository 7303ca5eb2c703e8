"""One contract over every training method, and the variants of each that take another path, on two networks.

Losses and what is measured are finite; the model sees images where the method says; every weight gets a gradient;
modes, requires_grad and the batch are left as they were, also by an update given up half-way; BatchNorm sees as many
batches as the class says; settings alone make two methods equal; a run stopped and resumed is the run that never
stopped, bit for bit; ragged batches, one class, one image and float64 work; budgets without meaning are refused.
"""

import io
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.data.batch import Batch, View
from fastbat.errors import InputError
from fastbat.methods import METHODS, Method
from fastbat.models import build_model

EPS = 8 / 255
CLASSES = 4
ROUNDING = 1e-6


class Case(NamedTuple):
    """A method, and what its file says of it."""

    method: str
    batches: int  # that BatchNorm sees in one update
    settings: dict[str, Any] = {}  # noqa: RUF012
    reach: float = 1.0  # how far from x the model is shown images at most, in units of eps
    goes: float = 0.95  # how far at least, in units of reach; SORA's steps are random, and shrink
    in_image: bool = True  # whether all of these lie in [0, 1]
    border: float = 0.0  # what the crops are padded with
    remembers: bool = False  # whether an update depends on those before, other than through the weights
    keeps: str = "delta"  # the perturbation in its memory, "" if there is none
    kept: float = 1.0  # how large that may be, in units of eps


CASES = {
    "fast-bat": Case("fast-bat", 3),
    "fast-bat, z uniform": Case("fast-bat", 2, {"linearise": "uniform"}),
    "fast-bat, mixed at delta": Case("fast-bat", 3, {"mixed_at": "delta"}),
    "fast-bat, hessian-free": Case("fast-bat", 3, {"ig_mode": "hessian-free"}),
    "fast-bat, hessian-free at delta": Case("fast-bat", 4, {"ig_mode": "hessian-free", "mixed_at": "delta"}),
    "fast-bat, every third": Case("fast-bat", 3, {"ig_every": 3, "ig_weight": 10.0}),
    "fast-bat, hessian-aware": Case("fast-bat", 3, {"ig_mode": "hessian-aware"}),
    "fast-bat, none": Case("fast-bat", 3, {"ig_mode": "none"}),
    "fast-bat, kl": Case("fast-bat", 4, {"attack_objective": "kl"}),
    "fast-bat, dlr": Case("fast-bat", 3, {"attack_objective": "dlr"}),
    "fast-at": Case("fast-at", 2),
    "fast-at-ga": Case("fast-at-ga", 3, in_image=False),
    "fast-at-ga, random": Case("fast-at-ga", 3, {"init": "random"}, in_image=False),
    "fast-at-ga, double": Case("fast-at-ga", 3, {"penalty": "double"}, in_image=False),
    "pgd-at": Case("pgd-at", 4, {"steps": 3}),
    "pgd-2": Case("pgd-2", 3),
    "pgd-7": Case("pgd-7", 8),
    "pgd-2, zero": Case("pgd-2", 3, {"init": "zero"}),
    "free-at": Case("free-at", 1, remembers=True),
    "yopo": Case("yopo", 5, in_image=False),
    "atta": Case("atta", 2, border=0.5, remembers=True, keeps="canvas"),
    "atta, ce": Case("atta", 1, {"loss": "ce"}, border=0.5, remembers=True, keeps="canvas"),
    "backsmooth": Case("backsmooth", 2),
    "n-fgsm": Case("n-fgsm", 2, reach=3.0),
    "n-fgsm, clip": Case("n-fgsm", 2, {"noise_ratio": 1.0, "clip": True, "target_mass": 0.6}),
    "fgsm-rs-cs": Case("fgsm-rs-cs", 2, {"tolerance": 0.0}, reach=2.0, remembers=True, keeps=""),
    "fgsm-rs-cs, free": Case("fgsm-rs-cs", 2, {"constraint": 0.0}, reach=2.0),
    "liet": Case("liet", 2, remembers=True),
    "liet, above 8": Case("liet", 2, {"clip": False, "noise_ratio": 2.0, "erase_high": 1.0}, reach=3.0, remembers=True),
    "fgsm-mep": Case("fgsm-mep", 2, remembers=True),
    "tdat": Case("tdat", 2, remembers=True),
    "nuat": Case("nuat", 2),
    "elle-a": Case("elle-a", 3, in_image=False, remembers=True, keeps=""),
    "elle-a, noise": Case("elle-a", 3, {"noise_ratio": 2.0}, reach=3.0, in_image=False, remembers=True, keeps=""),
    "sora": Case("sora", 2, reach=3.0, goes=0.45, remembers=True, keeps=""),
    "fgsm-uap": Case("fgsm-uap", 2, remembers=True, kept=1.25),
    "fgsm-uap, class": Case("fgsm-uap", 2, {"per": "class"}, remembers=True, kept=1.25),
    "trades": Case("trades", 2, in_image=False),
    "standard": Case("standard", 1, reach=0.0),
}

NETWORKS = {
    "cnn": {"shape": (1, 8, 8), "width": 8, "mean": (0.5,), "std": (0.5,)},
    "preactresnet18": {"shape": (3, 16, 16), "width": 2, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)},
}

contract = pytest.mark.parametrize("name", CASES)
networks = pytest.mark.parametrize("network", NETWORKS)


def method_of(name: str) -> Method:
    return METHODS[CASES[name].method](eps=EPS, **CASES[name].settings)


def model_of(network: str) -> nn.Module:
    torch.manual_seed(1)
    settings = {key: value for key, value in NETWORKS[network].items() if key != "shape"}
    return build_model(network, num_classes=CLASSES, **settings).train()


def batch_of(network: str, size: int = 6, first: int = 0, epoch: int = 0, step: int = 0) -> Batch:
    """Return an epoch's crops and flips of the images first, first + 1, ...; many pixels are exactly 0 or 1."""
    shape = NETWORKS[network]["shape"]
    pixels = np.random.default_rng(first).uniform(-0.2, 1.2, (size, *shape))
    stored = torch.from_numpy(pixels).float().clamp(0, 1)
    view = View.draw(np.random.default_rng([first, epoch]), size, pad=2, flip=True)
    return Batch(
        view.apply(stored),
        torch.arange(size) % CLASSES,
        torch.arange(first, first + size),
        view,
        step=step,
        progress=0.5,
    )


def border_of(batch: Batch) -> Tensor:
    """Return 1 where a crop shows no image."""
    return 1 - batch.view.apply(torch.ones_like(batch.x))


def update(method: Method, model: nn.Module, batch: Batch) -> list[float]:
    """Accumulate the gradients of one update; return its losses."""
    model.zero_grad()
    values = []
    for loss in method.losses(model, batch):
        loss.backward()
        values.append(loss.item())
    return values


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters()]


def seen_by(model: nn.Module, run: Callable[[], Any]) -> Tensor:
    """Return all images that the model is shown while `run` runs, (passes, B, C, H, W), but for grey ones."""
    seen: list[Tensor] = []
    with model.register_forward_pre_hook(
        lambda _, inputs: seen.append(getattr(inputs[0], "a", inputs[0]).detach().clone())
    ):
        run()
    shown = [images for images in seen if (images != 0.5).any()]
    return torch.stack([part for images in shown for part in images.split(len(shown[0]))])  # ELLE-A's are three batches


def test_every_method_of_the_comparison_is_there_and_under_contract() -> None:
    published = "fast-bat fast-at fast-at-ga pgd-at pgd-2 pgd-7 free-at yopo atta backsmooth n-fgsm trades standard"
    recent = "fgsm-rs-cs liet fgsm-mep tdat nuat elle-a sora fgsm-uap"
    assert set(METHODS) >= {*published.split(), *recent.split()}
    assert {case.method for case in CASES.values()} == set(METHODS)


@networks
@contract
def test_losses_and_measures_are_finite_and_every_weight_gets_a_gradient(name: str, network: str) -> None:
    method, model, batch = method_of(name), model_of(network), batch_of(network)
    values = update(method, model, batch)
    assert values
    assert all(math.isfinite(value) for value in values)
    assert all(value.shape == () and value.isfinite() and not value.requires_grad for value in batch.log.values())
    weights = dict(model.named_parameters())
    without = [key for key, p in weights.items() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert without == []


@networks
@contract
def test_the_model_sees_images_where_the_method_says(name: str, network: str) -> None:
    case, method, model, batch = CASES[name], method_of(name), model_of(network), batch_of(network)
    for _ in range(3):  # a memory is empty at first
        seen = seen_by(model, lambda: update(method, model, batch))
    clean = batch.x + case.border * border_of(batch)
    furthest = (seen - clean).abs().max().item()
    assert furthest <= case.reach * EPS + ROUNDING
    assert furthest > case.goes * EPS * case.reach or case.reach == 0  # and that far it goes
    inside = seen.min().item() >= -ROUNDING and seen.max().item() <= 1 + ROUNDING
    assert inside == case.in_image
    assert batch.view.top.unique().numel() > 1  # and it was not the same crop of all


@networks
@contract
def test_modes_and_requires_grad_and_the_batch_are_left_as_they_were(name: str, network: str) -> None:
    model, batch = model_of(network), batch_of(network)
    frozen = list(model.parameters())[-1].requires_grad_(False)
    list(model.modules())[4].eval()  # one module in another mode than the rest
    before = state_of(model, batch)
    count = len(update_to_the_end(method_of(name), model, batch, before))
    assert frozen.grad is None
    for given_up_after in range(1, count + 1):
        losses = method_of(name).losses(model, batch)
        for _ in range(given_up_after):
            next(losses).backward()
        losses.close()
        assert_same(state_of(model, batch), before)
        assert model(batch.x).shape == (len(batch.x), CLASSES)  # no hook is left behind


def update_to_the_end(method: Method, model: nn.Module, batch: Batch, before: tuple[Any, ...]) -> list[float]:
    """Run an update whose every step leaves things as `before`; return its losses."""
    values = []
    for loss in method.losses(model, batch):
        assert_same(state_of(model, batch), before)
        loss.backward()
        values.append(loss.item())
    assert_same(state_of(model, batch), before)
    return values


def state_of(model: nn.Module, batch: Batch) -> tuple[Any, ...]:
    weights = [p.detach().clone() for p in model.parameters()]
    tensors = [batch.x.clone(), batch.y.clone(), batch.index.clone(), *weights]
    flags = [p.requires_grad for p in model.parameters()] + [batch.x.requires_grad]
    return [module.training for module in model.modules()], flags, tensors


def assert_same(found: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    assert found[:2] == expected[:2]
    assert all(torch.equal(one, other) for one, other in zip(found[2], expected[2], strict=True))


@contract
def test_batch_norm_sees_as_many_batches_as_the_class_says(name: str) -> None:
    model, batch, method = model_of("preactresnet18"), batch_of("preactresnet18"), method_of(name)
    for updates in (1, 2):
        update(method, model, batch)
        counts = {key: int(count) for key, count in model.named_buffers() if key.endswith("num_batches_tracked")}
        assert len(counts) == 17
        assert set(counts.values()) == {updates * CASES[name].batches}


@contract
def test_with_another_budget_a_method_keeps_its_memory_and_what_was_given(name: str) -> None:
    model, batch, method = model_of("cnn"), batch_of("cnn"), method_of(name)
    for _ in range(2):
        update(method, model, batch)
    before = method.state_dict()
    other, eps = method.with_eps(EPS / 4), EPS / 4 if method.eps else 0
    assert other == METHODS[CASES[name].method](eps=eps, **CASES[name].settings)
    assert (other.eps, method.eps) == (eps, method_of(name).eps)
    assert other.resolved == METHODS[CASES[name].method](eps=eps, **CASES[name].settings).resolved
    kept = other.state_dict()
    assert all(torch.equal(kept[key], tensor) for key, tensor in before.items())
    assert bool(kept) == CASES[name].remembers
    with pytest.raises(FrozenInstanceError):
        other.eps = 0.1


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.remembers and case.keeps])
def test_a_memory_of_a_larger_budget_is_cut_to_the_new_one(name: str) -> None:
    batch, method, model = batch_of("cnn"), method_of(name), model_of("cnn")
    clean = torch.where(border_of(batch) > 0, CASES[name].border, batch.x)
    shown = seen_by(model, lambda: [update(method, model, batch) for _ in range(3)])
    assert (shown - clean).abs().max() > EPS / 2
    other = method.with_eps(EPS / 4)
    shown = seen_by(model, lambda: update(other, model, batch))
    assert EPS / 8 < (shown - clean).abs().max() <= CASES[name].reach * EPS / 4 + ROUNDING  # at the memory, not at zero
    assert method.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(tensor, method.state_dict()[key]) for key, tensor in other.state_dict().items())
    moved = other.state_dict()[CASES[name].keeps]
    assert 0 < moved[:6].abs().max() <= CASES[name].kept * EPS / 4 + ROUNDING


@contract
def test_a_method_is_its_settings(name: str) -> None:
    method, model, batch = method_of(name), model_of("cnn"), batch_of("cnn")
    text, number = repr(method), hash(method)
    update(method, model, batch)
    assert is_dataclass(method)
    assert method == method_of(name)
    assert (repr(method), hash(method)) == (text, number)
    assert "memory" not in text
    settings = [field.name for field in fields(method) if field.init]
    assert all(f"{setting}=" in text for setting in settings)
    assert eval(text, {type(method).__name__: type(method)}) == method
    with pytest.raises(FrozenInstanceError):
        method.eps = 0.1


@contract
def test_smoothed_labels_enter_the_training_loss_and_no_attack(name: str) -> None:
    def first(batch: Batch) -> tuple[float, Tensor]:
        model, method, values = model_of("cnn"), method_of(name), []
        torch.manual_seed(3)
        seen = seen_by(model, lambda: values.append(next(method.losses(model, batch)).item()))
        return values[0], seen

    plain_batch = batch_of("cnn")
    (plain, seen), (smooth, seen_too) = first(plain_batch), first(replace(plain_batch, label_smoothing=0.3))
    assert torch.equal(seen, seen_too)  # up to the first loss, also FREE-AT's and YOPO's attacks
    assert abs(smooth - plain) > 1e-4
    if name in ("fast-bat", "fast-at", "trades"):  # whose CE has weight 1
        model, y = model_of("cnn"), plain_batch.y
        added = [F.cross_entropy(z, y, label_smoothing=0.3) - F.cross_entropy(z, y) for z in map(model, seen)]
        assert min(abs(smooth - plain - more.item()) for more in added) < 1e-6


def four_epochs(network: str) -> list[Batch]:
    """Return two batches, the second ragged, and both thrice more under other crops and flips."""
    cuts = [(size, first, epoch) for epoch in range(4) for size, first in ((6, 0), (4, 6))]
    return [batch_of(network, *cut, step) for step, cut in enumerate(cuts)]


def train(method: Method, model: nn.Module, batches: list[Batch]) -> list[float]:
    """Take one plain step of gradient descent a batch; return the losses."""
    optimizer, values = torch.optim.SGD(model.parameters(), lr=0.05), []
    for batch in batches:
        values += update(method, model, batch)
        optimizer.step()
    return values


def checkpoint(method: Method, model: nn.Module) -> bytes:
    """Return what a file would hold of both, and of the noise to come."""
    state = {"model": model.state_dict(), "noise": torch.get_rng_state()}
    if hasattr(method, "state_dict"):
        state["method"] = method.state_dict()
    torch.save(state, file := io.BytesIO())
    return file.getvalue()


def resumed(name: str, network: str, saved: bytes) -> tuple[Method, nn.Module]:
    """Return a new method and a new model that go on where the others were."""
    method, model = method_of(name), model_of(network)
    state = torch.load(io.BytesIO(saved), weights_only=True)
    model.load_state_dict(state["model"])
    if "method" in state:
        method.load_state_dict(state["method"])
    torch.set_rng_state(state["noise"])
    return method, model


@networks
@contract
def test_stopped_and_resumed_is_never_stopped(name: str, network: str) -> None:
    batches = four_epochs(network)
    method, model = method_of(name), model_of(network)
    train(method, model, batches[:6])
    saved = checkpoint(method, model)
    values = train(method, model, batches[6:])
    expected = model.state_dict()
    again, other = resumed(name, network, saved)
    assert train(again, other, batches[6:]) == values
    assert all(torch.equal(tensor, expected[key]) for key, tensor in other.state_dict().items())
    if CASES[name].remembers:
        assert method.traits.memory.keys() <= method.state_dict().keys()
        memory, expected = again.state_dict(), method.state_dict()
        assert memory.keys() == expected.keys() != set()
        assert all(torch.equal(memory[key], expected[key]) for key in memory)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.remembers])
def test_a_memory_that_is_not_restored_is_missed(name: str) -> None:
    batches = four_epochs("cnn")
    method, model = method_of(name), model_of("cnn")
    train(method, model, batches[:6])
    saved = checkpoint(method, model)
    values = train(method, model, batches[6:])
    _, other = resumed(name, "cnn", saved)
    assert train(method_of(name), other, batches[6:]) != values


@networks
@contract
def test_a_ragged_batch_and_then_a_full_one_and_a_larger_one(name: str, network: str) -> None:
    method, model = method_of(name), model_of(network)
    batches = [batch_of(network, size, first) for size, first in ((6, 0), (2, 6), (6, 0), (8, 0))]
    assert np.isfinite(train(method, model, batches)).all()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients(model))


@networks
@contract
def test_a_batch_of_one_class(name: str, network: str) -> None:
    method, model, batch = method_of(name), model_of(network), batch_of(network)
    values = update(method, model, replace(batch, y=torch.full_like(batch.y, 2)))
    assert np.isfinite(values).all()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients(model))


@contract
def test_a_batch_of_one_image(name: str) -> None:
    method, model = method_of(name), model_of("cnn")
    assert np.isfinite(update(method, model, batch_of("cnn", size=1))).all()
    assert all(gradient.isfinite().all() for gradient in gradients(model))
    assert any(gradient.any() for gradient in gradients(model))


@contract
def test_float64_throughout(name: str) -> None:
    method, model, batch = method_of(name), model_of("cnn").double(), batch_of("cnn")
    batch = replace(batch, x=batch.x.double())
    dtypes = set()
    for _ in range(2):
        for loss in method.losses(model, batch):
            loss.backward()
            dtypes.add(loss.dtype)
    assert dtypes | {gradient.dtype for gradient in gradients(model)} == {torch.float64}
    shown = seen_by(model, lambda: update(method, model, batch))
    assert shown.dtype == torch.float64
    clean = batch.x + CASES[name].border * border_of(batch)
    assert (shown - clean).abs().max() <= CASES[name].reach * EPS + 1e-15  # no face was rounded to float32


@pytest.mark.parametrize("eps", [0, -0.1, 8, 1.001, math.nan, math.inf])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "standard"])
def test_a_budget_without_meaning_is_refused(name: str, eps: float) -> None:
    with pytest.raises(InputError, match=r"eps is .*/255; it must lie above 0 and at most at 255/255"):
        METHODS[name](eps=eps)


@pytest.mark.parametrize("eps", [0, -0.1, 8, EPS])
def test_standard_training_has_no_budget(eps: float) -> None:
    assert METHODS["standard"](eps=eps).eps == 0


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fast-at", {"step_ratio": 0}, "step_ratio is 0; it must be above 0"),
        ("fast-at-ga", {"mu": -1}, "mu is -1; it must be 0 or above"),
        ("fast-at-ga", {"mu": math.nan}, "mu is nan"),
        ("fast-at-ga", {"mu": math.inf}, "mu is inf; it must be 0 or above, and finite"),
        ("fast-at-ga", {"init": "zeros"}, "unknown init 'zeros'; did you mean 'zero'"),
        ("pgd-7", {"steps": 0}, "steps is 0; it must be at least 1"),
        ("pgd-2", {"step": 2}, "step is 2; it must lie in"),
        ("free-at", {"replays": 0}, "replays is 0; it must be at least 1"),
        ("yopo", {"outer": 0}, "outer is 0; it must be at least 1"),
        ("yopo", {"inner": 0}, "inner is 0; it must be at least 1"),
        ("atta", {"loss": "kl"}, "unknown loss 'kl'"),
        ("atta", {"reset": 0}, "reset is 0; it must be at least 1"),
        ("n-fgsm", {"noise_ratio": -1}, "noise_ratio is -1; it must be 0 or above"),
        ("n-fgsm", {"step_ratio": math.inf}, "step_ratio is inf; it must be 0 or above"),
        ("n-fgsm", {"target_mass": 1.1}, "target_mass is 1.1; it is a share of each target, from 0 to 1"),
        ("fgsm-rs-cs", {"constraint": -1}, "constraint is -1; it must be 0 or above"),
        ("fgsm-rs-cs", {"tolerance": math.nan}, "tolerance is nan; it must be 0 or above"),
        ("liet", {"smoothing": 2}, "smoothing is 2; it is a share of each target, from 0 to 1"),
        ("liet", {"erase_low": 0.7}, "erase_low is 0.7, above erase_high, 0.5"),
        ("liet", {"refresh": 0}, "refresh is 0; it must be at least 1"),
        ("liet", {"consistency": -1}, "consistency is -1; it must be 0 or above"),
        ("fgsm-mep", {"reset": 0}, "reset is 0; it must be at least 1"),
        ("fgsm-mep", {"decay": math.inf}, "decay is inf; it must be 0 or above"),
        ("fgsm-mep", {"target_mass": -0.1}, "target_mass is -0.1; it is a share of each target"),
        ("tdat", {"beta": 0.65}, "beta is 0.65; it must lie in .0, 0.642.: beta tan"),
        ("tdat", {"gamma_min": -1}, "gamma_min is -1; it is a share of each target, from 0 to 1"),
        ("nuat", {"nuclear": -1}, "nuclear is -1; it must be 0 or above"),
        ("elle-a", {"decay": 1.5}, "decay is 1.5; it must lie in"),
        ("elle-a", {"sensitivity": -1}, "sensitivity is -1; it must be 0 or above"),
        ("sora", {"decay": -0.1}, "decay is -0.1; it must lie in"),
        ("sora", {"curvature": math.nan}, "curvature is nan; it must be 0 or above"),
        ("fgsm-uap", {"per": "image"}, "unknown per 'image'"),
        ("fgsm-uap", {"smoothing": 1.1}, "smoothing is 1.1; it is a share of each target, from 0 to 1"),
        ("fgsm-uap", {"uap_ratio": -1}, "uap_ratio is -1; it must be 0 or above"),
        ("trades", {"steps": 0}, "steps is 0; it must be at least 1"),
        *[(name, {"step": 2}, "step is 2; it must lie in .0, 1., the scale of") for name in ("trades", "atta", "yopo")],
        *[(name, {"step": 0}, "step is 0; it must lie in") for name in ("trades", "atta", "yopo", "pgd-at")],
        *[(name, {"step": math.nan}, "step is nan; it must lie in") for name in ("trades", "atta", "yopo", "pgd-7")],
        *[(name, {"beta": -1}, "beta is -1; it must be 0 or above") for name in ("trades", "atta", "backsmooth")],
        *[(name, {"beta": math.inf}, "beta is inf; it must be 0") for name in ("trades", "atta", "backsmooth")],
        *[("backsmooth", {"gamma": gamma}, f"gamma is {gamma:g}; it must be above 0") for gamma in (0, -1, math.inf)],
        ("fast-bat", {"ig_mode": "hessian"}, "unknown ig_mode 'hessian'; did you mean 'hessian-"),
        ("fast-bat", {"attack_objective": "cw"}, "unknown attack_objective 'cw'"),
        ("fast-bat", {"ig_every": 0}, "ig_every is 0; it must be at least 1"),
        ("fast-at-ga", {"penalty": "tangents"}, "unknown penalty 'tangents'; did you mean 'tangent'"),
    ],
)
def test_a_setting_without_meaning_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        METHODS[name](eps=EPS, **settings)


def test_atta_says_what_a_batch_lacks() -> None:
    batch = batch_of("cnn")
    for lacking in (Batch(batch.x, batch.y), Batch(batch.x, batch.y, index=batch.index)):
        with pytest.raises(InputError, match="its batches need each image's index and view"):
            next(METHODS["atta"](eps=EPS).losses(model_of("cnn"), lacking))


@pytest.mark.parametrize("name", ["fast-bat", "free-at", "yopo", "sora", "fgsm-uap"])
def test_a_loss_without_its_backward_pass_is_noticed(name: str) -> None:
    losses = METHODS[name](eps=EPS).losses(model_of("cnn"), batch_of("cnn"))
    next(losses)
    with pytest.raises(RuntimeError, match=r"reads a gradient: call backward\(\) on each loss as it is yielded"):
        next(losses)


class HeadFirst(nn.Module):
    """A linear layer, registered before the convolution that it follows."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4 * 64, CLASSES)
        self.stem = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).relu().flatten(1))


def test_yopo_splits_off_the_layer_that_runs_first_wherever_it_was_registered() -> None:
    torch.manual_seed(1)
    head_first = HeadFirst()
    in_order = nn.Sequential(head_first.stem, nn.ReLU(), nn.Flatten(), head_first.head)
    method, found = METHODS["yopo"](eps=EPS), []
    for model in (in_order, head_first):
        torch.manual_seed(2)
        values = update(method, model, batch_of("cnn"))
        found.append((values, [p.grad.clone() for p in in_order.parameters()]))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(one, other) for one, other in zip(found[0][1], found[1][1], strict=True))


def test_yopo_says_what_a_model_lacks() -> None:
    model = nn.Sequential(nn.Flatten(), nn.ReLU())
    with pytest.raises(InputError, match="the model has no convolution and no linear layer"):
        next(METHODS["yopo"](eps=EPS).losses(model, batch_of("cnn")))
