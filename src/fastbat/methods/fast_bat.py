"""FAST-BAT (Zhang et al., ICML 2022): min_theta l_tr(theta, d*(theta)), the linearised bi-level problem, Eq. 7.

    z  = a linearisation point, held constant                                      App. C.2
    d* = P(z + a g(z)),  a = 1 / lambda                                             Eq. 8
    dd*/dtheta = a (grad_theta g) interior(d*), no Hessian                          Eq. 12, Cor. 1
    theta <- theta - alpha [ grad_theta L(d*) + c grad_theta <g, interior(d*) * grad_d L(d*)> ]      Eq. 13

with L(d) = mean CE(x + d), g the gradient of the summed CE at z, and c = alpha_2 / (lambda alpha_1). One backward
pass does it all: L(d* + ig - [ig]), ig = c interior(d*) * g(z) and [.] held constant, has the value L(d*) and, by
the chain rule, exactly this gradient. It differentiates twice; "tangent" does not: with u the
second factor of <g, .> held constant, <g, u> is the derivative of the summed CE at z along u.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from fastbat.attacks.gradient import input_gradient, twice_differentiable
from fastbat.attacks.objective import Objective, cross_entropy, dlr, kl_from
from fastbat.errors import InputError, check_choices, check_weight
from fastbat.geometry import Box, check_eps
from fastbat.implicit import solve
from fastbat.lazy import Tensor, nn, torch
from fastbat.methods.lam import resolve_lambda
from fastbat.methods.method import LabelledBatch, put_back, remembered, training_loss


@dataclass(frozen=True)
class FastBAT:
    """FAST-BAT: an unsigned step, and an update that feels how the attack answers the weights.

    BatchNorm sees three passes (z0, z, d*); two where z is drawn without a step. With attack_objective "kl" it also
    sees one at x, with mixed_at "delta" (Hessian-free) a second one at d*.
    `lam` may be given as "paper" or "released" and is resolved to its number for this eps.
    """

    eps: float
    lam: float | Literal["paper", "released"] | None = field(default=None, metadata={"per_eps": True})
    """lambda of Eq. 7; 1 / lambda is the attack step. "paper" (unless given; Sec. 5.1, App. C) or "released" (code)."""
    ig_weight: float = field(default=0.1, metadata={"published": 0.1})
    """c = alpha_2 / (lambda alpha_1) of Eq. 13; the chain rule's own is 1 / lambda; 0 leaves the term out."""
    linearise: Literal["pgd-nosign", "pgd-sign", "uniform", "corner"] = "pgd-nosign"
    """Linearisation point z: one unsigned step, one signed step of eps / 2, uniform noise, or a random corner."""
    mixed_at: Literal["z", "delta"] = "z"
    """Where grad_theta,d is taken: z (the derivative of Eq. 8; released code) or d* (Eq. 12; Hessian-aware always)."""
    ig_mode: Literal["hessian-free", "tangent", "hessian-aware", "none"] = "tangent"
    """The implicit gradient: Cor. 1, in one backward pass; the same by a tangent; Prop. 1 with Eq. 23; or left out."""
    ig_every: int = 1
    """Add the implicit term in every Nth batch only, N times as heavy."""
    attack_objective: Literal["ce", "kl", "dlr"] = "ce"
    """What the attack climbs, -l_atk of Sec. 3: CE, KL from the prediction at x, or the difference-of-logits ratio."""
    memory: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    stats: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    state_dict, load_state_dict = remembered, put_back

    def __post_init__(self) -> None:
        check_eps(self.eps)
        named = "paper" if self.lam is None else self.lam
        lam = resolve_lambda(self.eps, named) if isinstance(named, str) else named
        if not 0 < lam < math.inf:
            raise InputError(f"lam is {lam:g}; lambda must be above 0: 255/5000 = 0.051 is the paper's at eps 8/255")
        check_weight("ig_weight", self.ig_weight)
        check_choices(self)
        if self.ig_every < 1:
            raise InputError(f"ig_every is {self.ig_every}; it must be at least 1, which is every batch")
        object.__setattr__(self, "lam", lam)

    @property
    def a(self) -> float:
        """The attack step 1 / lambda of Eq. 8, on the [0, 1] scale per unit of gradient."""
        return 1 / float(self.lam or math.inf)

    @property
    def differentiates_twice(self) -> bool:
        """Whether its backward pass goes through the gradient of the attack."""
        return self.ig_mode in ("hessian-free", "hessian-aware") and self.ig_weight > 0

    def losses(self, model: nn.Module, batch: LabelledBatch) -> Iterator[Tensor]:
        """Yield losses of the value mean CE(x + d*), whose gradients together are that of Eq. 13."""
        x, y = batch.x, batch.y
        box, objective = Box(x, self.eps), self.objective(model, x)
        c, mode = self.ig_weight * self.ig_every, self.mode()
        z = self.linearisation_point(model, x, y, box, objective)
        at_z = mode == "hessian-free" and self.mixed_at == "z"
        g = input_gradient(model, x, y, z, objective=objective, create_graph=at_z)
        delta = box.project(z + self.a * g.detach())  # Eq. 8
        interior = box.interior(delta)  # H_C, Eq. 12
        self.stats["active"] = 1 - interior.mean()
        if mode == "hessian-aware":
            yield self.hessian_aware(model, batch, delta, interior, objective)
        elif mode == "tangent":
            yield from self.tangent(model, batch, delta, c * interior, z if self.mixed_at == "z" else delta, objective)
        else:
            if mode == "hessian-free":
                if not at_z:
                    g = input_gradient(model, x, y, delta, objective=objective, create_graph=True)
                ig = c * interior * g
                delta = delta + (ig - ig.detach())
            yield training_loss(model(x + delta), batch)  # Eq. 4, by the chain rule Eq. 13

    def mode(self) -> str:
        """Return how this batch's implicit gradient is made, and count the batch."""
        batches = int(self.memory.get("batches", 0))
        self.memory["batches"] = batches + 1
        self.stats.clear()
        return self.ig_mode if self.ig_weight and batches % self.ig_every == 0 else "none"

    def tangent(
        self, model: nn.Module, batch: LabelledBatch, delta: Tensor, weight: Tensor, at: Tensor, objective: Objective
    ) -> Iterator[Tensor]:
        """Yield mean CE(x + d*), whose backward pass leaves grad_d L(d*), then what it weighs along that.

        stats["term"] is the norm of the term's gradient over that of L(d*), in the mean over ig_every batches; only
        where no gradients have come together before.
        """
        from fastbat.tangent import directional

        alone = all(w.grad is None for w in model.parameters())
        delta = delta.detach().requires_grad_()
        loss = training_loss(model(batch.x + delta), batch)
        yield loss
        if delta.grad is None:
            raise RuntimeError("the tangent reads the gradient at d*: call backward() on each loss as it is yielded")
        before = [(w, w.grad.clone()) for w in model.parameters() if w.grad is not None] if alone else []
        term = directional(model, batch.x + at, batch.y, weight * delta.grad, objective)
        yield loss.detach() + (term - term.detach())
        added = [w.grad - first for w, first in before if w.grad is not None]
        if added:
            rest = nn.utils.get_total_norm([gradient for _, gradient in before]).clamp_min(1e-30)
            self.stats["term"] = nn.utils.get_total_norm(added) / rest / self.ig_every

    def hessian_aware(
        self, model: nn.Module, batch: LabelledBatch, delta: Tensor, interior: Tensor, objective: Objective
    ) -> Tensor:
        """Return mean CE(x + d*) with the gradient of Eq. 4 through Eq. 23: c lambda grad_theta <g(d*), w> is added."""
        x, y, delta = batch.x, batch.y, delta.detach().requires_grad_()
        with twice_differentiable():
            logits = model(x + delta)
        loss = training_loss(logits, batch)
        (g,) = torch.autograd.grad(objective(logits, y), delta, create_graph=True)
        (v,) = torch.autograd.grad(loss, delta, retain_graph=True)
        found = solve(g, delta, v, interior, 1 / self.a)
        self.stats.update(
            fallbacks=x.new_tensor(found.fell_back),
            iterations=x.new_tensor(found.iterations),
            residual=x.new_tensor(found.residual),
        )
        term = self.ig_weight * self.ig_every / self.a * (g * found.w).sum()
        return loss + (term - term.detach())

    def objective(self, model: nn.Module, x: Tensor) -> Objective:
        """Return what the attack climbs, -l_atk of Sec. 3."""
        if self.attack_objective == "kl":
            return kl_from(model(x))
        return {"ce": cross_entropy, "dlr": dlr}[self.attack_objective]

    def linearisation_point(self, model: nn.Module, x: Tensor, y: Tensor, box: Box, objective: Objective) -> Tensor:
        """Return z of Eq. 7, inside the box and detached (App. C.2, Table 9)."""
        if self.linearise == "corner":
            return box.corner()
        start = box.uniform()
        if self.linearise == "uniform":
            return start
        g = input_gradient(model, x, y, start, objective=objective)
        return box.project(start + (self.a * g if self.linearise == "pgd-nosign" else self.eps / 2 * g.sign()))
