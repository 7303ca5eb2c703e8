"""The tangent of a network, layer by layer: f'(x) t, and its gradient in the weights, against the double backward."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.attacks.objective import cross_entropy, dlr
from fastbat.methods import FastBAT
from fastbat.models import build_model
from fastbat.runtime.precision import Autocast
from fastbat.tangent import NoRule, directional, push
from test_fast_bat import flat, images, off


class Reuses(nn.Module):
    """Adds to a convolution what it was given, after an activation in place has changed that."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(4, 4, 3, padding=1), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.act(x)) + x


class Adds(nn.Module):
    """Adds to what it was given in place, and reads it once more; broadcasts a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x, kept = self.conv(x), x
        again = x
        x += kept
        return again + x + torch.ones(4, 1, 1, dtype=torch.float64) - 0.5


class Calls(nn.Module):
    """A convolution by the function, with keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3) / 5)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(F.conv2d(x, self.weight, stride=2), True)


def net(*layers: nn.Module, size: int) -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *layers, nn.Flatten(), nn.Linear(size, 5)).double().train()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "batch norm without weights": lambda: net(nn.BatchNorm2d(4, affine=False), nn.ReLU(), size=256),
    "batch norm in eval mode": lambda: net(nn.BatchNorm2d(4).eval(), nn.ReLU(), size=256),
    "batch norm of vectors": lambda: net(nn.Flatten(), nn.Linear(256, 8), nn.BatchNorm1d(8), nn.Softplus(10), size=8),
    "max pooling, padded": lambda: net(nn.BatchNorm2d(4), nn.SiLU(), nn.MaxPool2d(3, 2, 1), size=64),
    "max pooling, rounded up": lambda: net(nn.Softplus(), nn.MaxPool2d(3, 2, ceil_mode=True), size=64),
    "average pooling": lambda: net(nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), size=64),
    "relu in place": lambda: net(nn.BatchNorm2d(4), Reuses(nn.ReLU(inplace=True)), size=256),
    "swish in place": lambda: net(nn.BatchNorm2d(4), Reuses(nn.SiLU(inplace=True)), size=256),
    "sums in place": lambda: net(nn.BatchNorm2d(4), Adds(), nn.ReLU(), size=256),
    "functions": lambda: nn.Sequential(Calls(), nn.Flatten(), nn.Linear(36, 5)).double(),
    "an activation of the images": lambda: nn.Sequential(nn.SiLU(), net(nn.BatchNorm2d(4), nn.ReLU(), size=256)),
    "resnet50": lambda: build_model("resnet50", num_classes=5).double().train(),
}


@pytest.mark.parametrize("objective", [cross_entropy, dlr])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_along_a_direction_is_that_of_the_double_backward(name: str, objective: Any) -> None:
    torch.manual_seed(4)
    model, batch = NETWORKS[name](), images(1)
    if name == "resnet50":
        batch = type(batch)(F.interpolate(batch.x, size=32), batch.y)
    twin, t = deepcopy(model), torch.randn_like(batch.x)
    x = batch.x.clone().requires_grad_()
    (g,) = torch.autograd.grad(objective(twin(x), batch.y), x, create_graph=True)
    true, found = (g * t).sum(), directional(model, batch.x, batch.y, t, objective)
    assert found.item() == pytest.approx(true.item(), rel=1e-9)
    true.backward()
    found.backward()
    got, wanted = (
        flat([torch.zeros_like(p) if p.grad is None else p.grad for p in each.parameters()]) for each in (model, twin)
    )
    assert off(got, wanted) < 1e-9


def test_the_value_is_the_networks_own() -> None:
    model, batch = NETWORKS["relu in place"](), images(1)
    torch.testing.assert_close(push(model, batch.x, batch.x)[0], model(batch.x))


def test_in_bf16_it_is_as_near_to_float32_as_the_double_backward() -> None:
    """Neither is very near: rounding leaves a cosine of 0.92 at the start, along a random direction."""
    torch.manual_seed(0)
    model, batch = build_model("preactresnet18", width=16).train(), images(3, 32)
    x, found = batch.x.float(), []
    t = torch.randn_like(x)
    for each, twice in ((model, False), (Autocast(model), False), (Autocast(model), True)):
        model.zero_grad()
        if twice:
            (at := x.clone()).requires_grad_()
            (g,) = torch.autograd.grad(cross_entropy(each(at), batch.y), at, create_graph=True)
            (g * t).sum().backward()
        else:
            directional(each, x, batch.y, t, cross_entropy).backward()
        found.append(flat([torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]))
    tangent, double = (torch.cosine_similarity(found[0], each, 0) for each in found[1:])
    assert tangent > double - 0.01 > 0.85


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("mul", lambda x: x * 2),
        ("rmul", lambda x: 2 * x),
        ("neg", lambda x: -x),
        ("rsub", lambda x: 1 - x),
        ("getitem", lambda x: x[:, :4]),
        ("sigmoid", torch.sigmoid),
        ("mul", lambda x: torch.ones(1, dtype=x.dtype) * x),
        ("transpose", lambda x: x.transpose(1, 2)),
    ],
)
def test_every_operation_without_a_rule_is_known_by_its_name(name: str, operation: Callable[[Any], Any]) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return operation(x)

    with pytest.raises(NoRule, match=name):
        push(net(Odd(), size=256), images(0).x, images(0).x)


EXTERNAL: dict[str, Callable[[Any], Any]] = {
    "asks for a tensor": lambda x: x if isinstance(x, Tensor) else {}["x"],
    "asks for what only a tensor has": lambda x: x.flatten(1).view(x.numel() // 256, -1),
    "checks its input": lambda x: x if torch.is_tensor(x) else torch.tensor(x),
    "takes its data": lambda x: x + 0 * x.data.sum(),
}


@pytest.mark.parametrize("case", EXTERNAL)
def test_a_network_that_takes_tensors_alone_is_differentiated_twice(case: str) -> None:
    class Foreign(nn.Module):
        def forward(self, x: Any) -> Any:
            return EXTERNAL[case](x)

    batch, model = images(0), net(Foreign(), nn.BatchNorm2d(4) if "only" not in case else nn.Identity(), size=256)
    with pytest.raises(NoRule):
        push(model, batch.x, batch.x)
    t = torch.randn_like(batch.x)
    x = batch.x.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(model(x), batch.y), x)
    assert directional(model, batch.x, batch.y, t, cross_entropy).item() == pytest.approx(
        (g * t).sum().item(), rel=1e-9
    )


def test_a_caller_who_does_not_go_backward_is_told() -> None:
    method, model = FastBAT(8 / 255, ig_mode="tangent"), net(size=256)
    with pytest.raises(RuntimeError, match=r"call backward\(\) on each loss as it is yielded"):
        list(method.losses(model, images(0)))
