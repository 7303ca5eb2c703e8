"""FAST-BAT (Zhang et al., ICML 2022): min_theta l_tr(theta, d*(theta)), the linearised bi-level problem, Eq. 7.

    z  = a linearisation point, held constant                                      App. C.2
    d* = P(z + a g(z)),  a = 1 / lambda                                             Eq. 8
    dd*/dtheta = a (grad_theta g) interior(d*), no Hessian                          Eq. 12, Cor. 1
    theta <- theta - alpha [ grad_theta L(d*) + c grad_theta <g, interior(d*) * grad_d L(d*)> ]      Eq. 13

with L(d) = mean CE(x + d), g the gradient of the summed CE at z, and c = alpha_2 / (lambda alpha_1). Each term is a
loss: with u = c interior(d*) * grad_d L(d*) held constant, <g, u> is the derivative of the summed CE at z along u.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import objective_named
from fastbat.errors import check_choices, check_count, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.lazy import Tensor, lazy_function, nn
from fastbat.methods.fast_bat_forms import ONE_LOSS
from fastbat.methods.lam import resolve_lambda
from fastbat.methods.linearisation import Linearise, linearisation_point
from fastbat.methods.method import Batch, Method, Traits, grad_of, required, training_loss, with_gradient_of
from fastbat.methods.share import gradients, share

directional = lazy_function("fastbat.tangent", "directional")


@dataclass(frozen=True)
class FastBAT(Method):
    """FAST-BAT: an unsigned step, and an update that feels how the attack answers the weights.

    BatchNorm sees three passes (z0, z, d*), two where z is drawn; with attack_objective "kl" one more, at x.
    """

    eps: float
    lam: float | Literal["paper", "released"] | None = field(default=None, metadata={"by_protocol": True})
    """lambda of Eq. 7; 1 / lambda is the attack step. "paper" (unless given; Sec. 5.1, App. C) or "released" (code)."""
    ig_weight: float = field(default=0.1, metadata={"published": 0.1})
    """c = alpha_2 / (lambda alpha_1) of Eq. 13; the chain rule's own is 1 / lambda; 0 leaves the term out."""
    linearise: Linearise = "pgd-nosign"
    """Linearisation point z: one unsigned step, one signed step of eps / 2, uniform noise, or a random corner."""
    mixed_at: Literal["z", "delta"] = "z"
    """Where grad_theta,d is taken: z (the derivative of Eq. 8; released code) or d* (Eq. 12; Hessian-aware always)."""
    ig_mode: Literal["hessian-free", "tangent", "hessian-aware", "none"] = "tangent"
    """The implicit gradient: Cor. 1, in one backward pass; the same by a tangent; Prop. 1 with Eq. 23; or left out."""
    ig_every: int = 1
    """Add the implicit term in every Nth batch only, N times as heavy."""
    attack_objective: Literal["ce", "kl", "dlr"] = "ce"
    """What the attack climbs, -l_atk of Sec. 3: CE, KL from the prediction at x, or the difference-of-logits ratio."""

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_weight("ig_weight", self.ig_weight)
        check_choices(self)
        resolve_lambda(self.eps, self.lam)
        check_count("ig_every", self.ig_every)

    @property
    def resolved(self) -> dict[str, Any]:
        """lambda, as a number for this eps."""
        return {"lam": resolve_lambda(self.eps, self.lam)}

    @property
    def a(self) -> float:
        """The attack step 1 / lambda of Eq. 8, on the [0, 1] scale per unit of gradient."""
        return 1 / resolve_lambda(self.eps, self.lam)

    @property
    def traits(self) -> Traits:
        """The forms in one loss differentiate twice."""
        return Traits(differentiates_twice=self.ig_weight > 0 and self.ig_mode in ONE_LOSS, once="ig_mode tangent")

    def weight(self, batch: Batch) -> float:
        """Return c of Eq. 13 for this batch: 0 where the term is left out."""
        left_out = self.ig_mode == "none" or (self.ig_every > 1 and required(batch, "step") % self.ig_every)
        return 0.0 if left_out else self.ig_weight * self.ig_every

    def losses(self, model: nn.Module, batch: Batch) -> Iterator[Tensor]:
        """Yield losses of the value mean CE(x + d*), whose gradients together are that of Eq. 13."""
        x, y, box, c, alone = batch.x, batch.y, Box(batch.x, self.eps), self.weight(batch), not gradients(model)
        objective = objective_named(self.attack_objective, model, x)
        z = linearisation_point(self.linearise, model, y, box, objective, self.a)
        if c and self.ig_mode in ONE_LOSS:
            yield ONE_LOSS[self.ig_mode](self, model, batch, box, z, objective, c)
            return
        delta = box.project(z + self.a * input_gradient(model, x, y, z, objective=objective))  # Eq. 8
        interior = box.interior(delta)  # H_C of Eq. 12
        batch.log["active"] = 1 - interior.mean()
        loss = training_loss(model(x + delta.requires_grad_(c > 0)), batch)
        yield loss  # L(d*) of Eq. 13
        if c:
            first, u = gradients(model) if alone else [], c * interior * grad_of(delta)
            at = z if self.mixed_at == "z" else delta.detach()
            yield with_gradient_of(directional(model, x + at, y, u, objective), loss)  # c <g, u> of Eq. 13
            if first:
                batch.log["term"] = share(first) / self.ig_every
