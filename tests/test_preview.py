"""The preview of AutoAttack: against its definition, written out image by image; on models whose robustness is known.

Also: its example lies in the budget, few classes, what is printed with it, and the flag where AutoAttack disagrees.
"""

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

import fastbat
from fastbat.attacks import preview
from fastbat.evaluation.flags import Attacked, of_attacks
from fastbat.randomness import uniform_starts

attack = import_module("fastbat.attacks.preview")  # the package's attribute of that name is the function
EPS = 0.05


def small_net(classes: int = 5) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Softplus(4), nn.Flatten(), nn.Linear(6 * 16, classes))
    return net.double().requires_grad_(False)


def images(model: nn.Module, n: int = 24) -> tuple[Tensor, Tensor]:
    """Return images, some of their pixels at 0 and 1, and the classes that `model` sees in them."""
    x = (1.4 * torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.2).clamp(
        0, 1
    )
    return x, model(x).argmax(1)


def draws(x: Tensor, eps: float) -> Callable[[Tensor, str], Tensor]:
    return lambda rows, which: eps * (2 * uniform_starts(x[rows], rows, "test", which) - 1)


def plainly(model: nn.Module, x: Tensor, y: int, eps: float, draw: Callable[[str], Tensor]) -> tuple[Tensor, list[str]]:
    """Return the preview's x_adv of one image (1, C, H, W), and how each of its searches ended."""

    def cut(d: Tensor, budget: float) -> Tensor:
        return (x + d.clamp(-budget, budget)).clamp(0, 1) - x

    def slope(d: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
        d = d.clone().requires_grad_()
        return torch.autograd.grad(value(model(x + d)[0]), d)[0]

    def fooled(d: Tensor) -> bool:
        return int(model(x + d).argmax()) != y

    d, ended = cut(draw("PGD"), eps), list[str]()
    for _ in range(10):
        d = cut(d + eps / 4 * slope(d, lambda z: z.logsumexp(0) - z[y]).sign(), eps)
    classes = [k for k in model(x + d)[0].argsort(descending=True).tolist() if k != y][: attack.CLASSES]
    for place, t in enumerate(classes, 1):
        if fooled(d):
            return x + d, [*ended, "before"]
        margin = lambda z, t=t: z[y] - z[t]  # noqa: E731
        d, first, end = draw(f"class {place}, start"), margin(model(x)[0]), "robust"
        for s in (0.5, 0.25, 0.125):
            for third, budget in enumerate(((1 + s) * eps, eps, eps)):
                if third == 2:
                    d = cut(d, (1 - s) * eps) + s * draw(f"class {place}, {s:g}")
                for _ in range(10):
                    d = cut(d, budget)
                    if third and fooled(d):
                        return x + d, [*ended, "fooled"]
                    last = margin(model(x + d)[0])
                    d = cut(d - s * eps * slope(d, margin).sign(), budget)
                if third == 1 and last > s * first:
                    end = "far"
                    break
            if end == "far":
                break
        ended.append(end)
    return x + d, ended


@pytest.mark.parametrize("eps", [0.03, 0.1])
def test_the_preview_is_its_definition_image_by_image(eps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack, "CLASSES", 3)  # of the 4 wrong ones
    model = small_net()
    x, y = images(model)
    draw = draws(x, eps)
    found = preview(model, x, y, eps=eps, draw=draw)
    ways = list[str]()
    for i in range(len(x)):
        one = torch.tensor([i])
        true, ended = plainly(model, x[i : i + 1], int(y[i]), eps, lambda which, one=one: draw(one, which))
        assert (found[i] - true[0]).abs().max() < 1e-12
        ways += ended
    assert {"far", "fooled"} <= set(ways)


def test_what_an_image_is_given_depends_on_no_other() -> None:
    model = small_net()
    x, y = images(model)
    whole = preview(model, x, y, eps=EPS, draw=draws(x, EPS))
    parts = [
        preview(model, x[cut], y[cut], eps=EPS, draw=lambda rows, which, cut=cut: draws(x, EPS)(cut[rows], which))
        for cut in torch.arange(len(x)).split(7)
    ]
    assert (whole - torch.cat(parts)).abs().max() < 1e-12


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_a_linear_model_is_exactly_as_robust_as_its_margins_say(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    weight = torch.randn(classes, 16, generator=generator, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, classes, bias=False, dtype=torch.float64))
    model[1].weight = nn.Parameter(weight)
    x = 0.3 + 0.4 * torch.rand(200, 1, 4, 4, generator=generator, dtype=torch.float64)  # no corner leaves [0, 1]
    y = model(x).argmax(1)
    gaps = model(x)[range(200), y] - model(x).T  # (classes, images)
    reach = (weight[y] - weight[:, None]).abs().sum(2)  # by how much a gap shrinks, in units of eps
    distance = (gaps / reach).where(torch.arange(classes)[:, None] != y, torch.inf).amin(0)
    eps = distance.median().item() + 1e-6
    assert eps < 0.3  # no corner leaves [0, 1]
    result = fastbat.evaluate(model, (x, y), eps=eps, attacks="clean,preview")
    assert result["preview"].hits == (distance > eps).sum() == 100


def test_no_iterate_that_counts_leaves_the_budget_and_none_leaves_the_image() -> None:
    model, seen = small_net(), []
    x, y = images(model)
    model.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0].min().item(), inputs[0].max().item())))
    found = preview(model, x, y, eps=EPS, draw=draws(x, EPS))
    assert (found - x).abs().max() <= EPS + 1e-12
    lows, highs = zip(*seen, strict=True)
    assert min(lows) >= 0
    assert max(highs) <= 1
    assert 100 < len(seen) <= attack.PASSES + 8  # clean, after PGD, and before each class


def test_an_evaluation_prints_the_preview_as_what_it_is() -> None:
    model = small_net().float()
    x, y = (part for part in images(small_net(), 60))
    result = fastbat.evaluate(model, (x.float(), y), eps=EPS, attacks="clean,preview")
    assert result["preview"].label == "RA-preview"
    line = "RA-preview is a preview of RA-AA, no substitute: quote RA-AA"
    assert line in result.remarks()
    assert line in result.sentence()
    assert 0 < result["preview"].hits < result.sa.hits == 60


def test_a_flag_is_raised_where_autoattack_and_its_preview_differ_by_over_a_point() -> None:
    i = torch.arange(1000)
    others = {name: i < count for name, count in {"noise": 0, "fgsm": 300, "pgd": 400, "pgd-margin": 430}.items()}
    for aa, cheap, wanted in [(450, 440, 0), (450, 430, 1), (430, 450, 1), (450, 450, 0)]:
        found = of_attacks(Attacked(8 / 255, i < 900, others | {"aa": i < aa, "preview": i < cheap}))
        assert [flag.name for flag in found] == ["preview"] * wanted
    text = "at eps 8/255 aa and its preview differ by 2.0% of 1000 images: aa breaks 0 that the preview does not"
    (flag,) = of_attacks(Attacked(8 / 255, i < 900, others | {"aa": i < 430, "preview": i < 450}))
    assert flag.text == f"{text}, the preview 20 that aa does not"
    assert of_attacks(Attacked(8 / 255, i < 900, others | {"preview": i < 480})) == []
    (margin,) = of_attacks(Attacked(8 / 255, i < 900, others | {"preview": i < 550}))
    assert margin.name == "margin"
