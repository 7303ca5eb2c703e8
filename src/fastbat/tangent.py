"""Forward mode: an image and a direction pass through a network together, and the result has a graph.

    (a, t) -> (f(a), f'(a) t)

operation by operation: a linear one is applied to both; an elementwise one has a diagonal Jacobian, so f'(a) t is its
backward pass applied to t; BatchNorm in train mode (per channel, n values; r = 1 / std, h = r (a - mean a)) has

    J t = gamma r (t - mean t - h mean(h t))        symmetric: its own backward pass, and the tangent's
    d<u, J t>/da = -gamma r^2 [ (k - 3 p q) h + q (u - mean u) + p (t - mean t) ],
        p = mean(h u),  q = mean(h t),  k = mean(u t) - mean(u) mean(t)

so that nothing is differentiated twice, and every pass over the activations is a fused kernel of first-order training.
(torch.func.jvp cannot stand in: differentiated once more, it gives another gradient where there is BatchNorm.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import Objective
from fastbat.errors import InputError, no_memory
from fastbat.progress import say
from fastbat.runtime.modes import statistics_kept

aten = torch.ops.aten


def directional(model: nn.Module, x: Tensor, y: Tensor, t: Tensor, objective: Objective) -> Tensor:
    """Return <grad_x objective(f(x), y), t>, 0-d, for x, t (B, C, H, W), labels y (B,), differentiable in the weights.

    BatchNorm's running statistics stay as they are. Where the network does what RULES lacks, by differentiating twice.
    """
    with statistics_kept(model):
        if model not in LACKING:
            try:
                logits, moved = push(model, x, t)
                (v,) = torch.autograd.grad(objective(logits, y), logits, create_graph=True)
                return (v * moved).sum()
            except NoRule as error:
                LACKING.add(model)
                say(f"no tangent of this network ({error}): differentiating twice instead, which is slower")
        g = input_gradient(model, x, y, torch.zeros_like(x), objective=objective, create_graph=True)
    return (g * t).sum()


def push(model: nn.Module, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(x) and f'(x) t (both B, classes) for x, t (B, C, H, W); NoRule where the network takes no Dual."""
    try:
        out = model(Dual(x, t))
        return out.a, out.t
    except Exception as error:  # whatever a network of others does with what is no Tensor
        if isinstance(error, InputError | NoRule) or no_memory(error):
            raise
        raise NoRule(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


class NoRule(Exception):
    """A network, or an operation in it, whose tangent is not known here."""


LACKING = WeakSet[nn.Module]()  # networks that were found to need a rule that is not there


@dataclass(eq=False)
class Dual:
    """A value and its tangent, of one shape; torch's functions find their rule in RULES."""

    a: Tensor
    t: Tensor

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Apply the rule of `func`."""
        if func not in RULES:
            raise NoRule(getattr(func, "__name__", str(func)))
        return RULES[func](func, *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "device", "ndim", "dim", "size"):
            return getattr(self.a, name)
        if not callable(func := getattr(Tensor, name, None)):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.__torch_function__(func, (), (self, *args), kwargs)

    def __add__(self, other: "Dual | Tensor | float") -> "Dual":
        if isinstance(other, Dual):
            return Dual(self.a + other.a, self.t + other.t)
        return Dual(out := self.a + other, self.t.expand_as(out))

    def __iadd__(self, other: "Dual | Tensor | float") -> "Dual":
        out = self + other
        return self.put(out.a, out.t, inplace=True)

    def __sub__(self, constant: Tensor | float) -> "Dual":
        return self + -constant

    def __truediv__(self, constant: Tensor | float) -> "Dual":
        return Dual(self.a / constant, self.t / constant)

    def put(self, a: Tensor, t: Tensor, inplace: bool) -> "Dual":
        """Return (a, t); what works in place leaves it here, too, without touching the tensors that were here."""
        if not inplace:
            return Dual(a, t)
        self.a, self.t = a, t
        return self


def _refused(name: str) -> Callable[..., Any]:
    def operator(*_: Any) -> Any:
        raise NoRule(name)

    return operator


OPERATORS = (
    "mul", "rmul", "neg", "radd", "rsub", "rtruediv", "pow", "matmul", "isub", "imul", "itruediv", "rmatmul",
    "getitem", "len",
)  # fmt: skip
for _name in OPERATORS:
    setattr(Dual, f"__{_name}__", _refused(_name))

Rule = Callable[..., Dual]


def linear(func: Callable[..., Tensor], x: Dual, *args: Any, **kwargs: Any) -> Dual:
    """Apply a linear operation to both parts."""
    return Dual(func(x.a, *args, **kwargs), func(x.t, *args, **kwargs))


def affine(
    func: Callable[..., Tensor], x: Dual, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
) -> Dual:
    """Apply a convolution or linear layer: the bias belongs to the value alone."""
    return Dual(func(x.a, weight, bias, *args, **kwargs), func(x.t, weight, None, *args, **kwargs))


def elementwise(func: Callable[..., Tensor], x: Dual, *args: Any, **kwargs: Any) -> Dual:
    """Apply an elementwise function; f'(a) t is its backward pass."""
    a = x.a if x.a.requires_grad else x.a.detach().requires_grad_()
    out = func(a, *args, **kwargs)
    (t,) = torch.autograd.grad(out, a, x.t, create_graph=True)
    return Dual(out, t.to(out.dtype))


def silu(func: Callable[..., Tensor], x: Dual, inplace: bool = False) -> Dual:
    """Apply Swish."""
    out = elementwise(func, x)
    return x.put(out.a, out.t, inplace)


def relu(func: Callable[..., Tensor], x: Dual, inplace: bool = False) -> Dual:
    """Apply ReLU and its 0/1 slope, whose own derivative is 0 and need not be added up."""
    out = func(x.a)
    return x.put(out, aten.threshold_backward(x.t, out.detach(), 0), inplace)


def dropout(func: Callable[..., Tensor], x: Dual, p: float = 0.5, training: bool = True, inplace: bool = False) -> Dual:
    """Drop the same places from both."""
    if not training or p == 0:
        return x
    kept = func(torch.ones_like(x.a), p, training)
    return x.put(x.a * kept, x.t * kept, inplace)


def max_pool(func: Callable[..., Tensor], x: Dual, *args: Any, **kwargs: Any) -> Dual:
    """Take the tangent from where the maximum was."""
    out, index = F.max_pool2d_with_indices(x.a, *args, **kwargs)
    return Dual(out, x.t.flatten(2).gather(2, index.flatten(2)).view_as(out))


def batch_norm(
    func: Callable[..., Tensor],
    x: Dual,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Dual:
    """Normalise by the batch's statistics, through which the tangent passes, too; in eval mode by constants."""
    if training:
        if weight is None:
            weight = torch.ones(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        return Dual(*_BatchNormPair.apply(x.a, x.t, weight, bias, eps))
    assert mean is not None
    scaled = func(x.t, torch.zeros_like(mean), var, weight, None, False, momentum, eps)
    return Dual(func(x.a, mean, var, weight, bias, False, momentum, eps), scaled)


class _BatchNormPair(torch.autograd.Function):
    """(a, t) -> (gamma h + beta, J t), and the gradient of both, as the head of this file has them."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, t: Tensor, weight: Tensor, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor]:
        out, mean, invstd = torch.native_batch_norm(a, weight, bias, None, None, True, 0.0, eps)
        jt, sum_ht, sum_t = _backward(t, a, weight, mean, invstd, (True, True, True))
        ctx.save_for_backward(a, t, weight, mean, invstd, sum_ht, sum_t)
        return out, jt

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        v, u = grads
        a, t, weight, mean, invstd, sum_ht, sum_t = ctx.saved_tensors
        n = a.numel() // a.shape[1]
        jv, sum_hv, sum_v = _backward(v, a, weight, mean, invstd, (True, True, True))
        ju, sum_hu, sum_u = _backward(u, a, weight, mean, invstd, (True, True, True))
        _, sum_ut, _ = _backward(u, t, weight, sum_t / n, torch.ones_like(mean), (False, True, False))
        p, q, k = sum_hu / n, sum_ht / n, sum_ut / n
        scale = -weight * invstd**2
        da = jv.add_(_affine(a, mean, scale * (k - 3 * p * q) * invstd))
        da.add_(_affine(u, sum_u / n, scale * q)).add_(_affine(t, sum_t / n, scale * p))
        dbias = sum_v if ctx.needs_input_grad[3] else None
        return da, ju, sum_hv + n * invstd * (k - p * q), dbias, None


def _affine(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return scale (x - mean), per channel: BatchNorm in eval mode is the kernel that does it in one pass."""
    return torch.batch_norm(x, scale, None, mean, torch.ones_like(mean), False, 0.0, 0.0, False)


def _backward(
    grad: Tensor, a: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, mask: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return J grad, sum(h grad) and sum(grad), those of them that `mask` names."""
    found: tuple[Tensor, Tensor, Tensor] = aten.native_batch_norm_backward(
        grad, a, weight, None, None, mean, invstd, True, 0.0, list(mask)
    )
    return found


RULES: dict[Callable[..., Any], Rule] = {
    torch.conv2d: affine,
    F.linear: affine,
    F.batch_norm: batch_norm,
    F.relu: relu,
    F.silu: silu,
    F.softplus: elementwise,
    F.dropout: dropout,
    F.max_pool2d: max_pool,
    F.avg_pool2d: linear,
    F.adaptive_avg_pool2d: linear,
    torch.flatten: linear,
    Tensor.flatten: linear,
    Tensor.mean: linear,
    Tensor.float: linear,
}
