"""Appendix E at the weights of a FAST-BAT run, on its own training images: mini-batches beside all, and T steps of SGD.

The implicit term weighs c = alpha2 / (lambda alpha1) in Eq. 13: `a` = 1 / lambda by the chain rule, which the appendix
analyses; 0.1 as published; 0 where it is left out.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from fastbat.audit.subject import Subject
from fastbat.data import load, unit
from fastbat.errors import InputError
from fastbat.evaluation.attacked import first_device
from fastbat.evaluation.decay import decay, lipschitz
from fastbat.evaluation.minibatch import Gradient, bias_and_variance
from fastbat.evaluation.request import Theory
from fastbat.methods import FastBAT
from fastbat.training.prepare import SOURCE
from fastbat.training.settings import effective, make_method, method_settings, under

CHAIN_RULE = "a"  # the weight that is analysed
BATCH = 32  # images of an update
STEP = 8  # the rate of full gradients is 1 / (8 L)
MOST_FULL = 1000  # steps of full gradients


def methods_by_weight(subject: Subject) -> dict[str, FastBAT]:
    """Return the run's method by the weight c of its implicit term: left out, its own, the chain rule's.

    Raises InputError where the model is no FAST-BAT run's.
    """
    config = subject.about.get("config", {})
    if config.get("method") != "fast-bat" or subject.run is None:
        trained = f"was trained by {config['method']}" if config.get("method") else "is not known to be FAST-BAT's"
        raise InputError(f"noise_at and decay_over are of a run of fast-bat; {subject.target!r} {trained}")
    own = {name: config[name] for name in method_settings("fast-bat") & config.keys()}
    method = under(config.get("protocol", "paper"), make_method("fast-bat", own))
    assert isinstance(method, FastBAT)
    weights = {"0": 0.0} | ({} if method.ig_mode == "none" else {f"{method.ig_weight:g}": method.ig_weight})
    plain = replace(method, ig_mode="tangent", ig_every=1)
    return {name: replace(plain, ig_weight=c) for name, c in (weights | {CHAIN_RULE: method.a}).items()}


def training_images(subject: Subject, data_dir: Any, limit: int) -> tuple[Tensor, Tensor]:
    """Return the first images of the subject's training, (N, C, H, W) in [0, 1], and their labels."""
    assert subject.run is not None
    config = effective(subject.run.read_config())
    how = {name: config[name] for name in SOURCE if name in config}
    train = load(config["dataset"], data_dir or config.get("data_dir"), **how).train
    x, y = train.slice(0, min(limit, config.get("train_limit", limit))).tensors()
    return unit(x), y


def measure(
    model: nn.Module, methods: dict[str, FastBAT], images: tuple[Tensor, Tensor], theory: Theory, seed: int
) -> dict[str, Any]:
    """Return what is asked of Appendix E at the weights of `model`, on images (N, C, H, W) with labels (N,)."""
    (x, y), device = images, first_device(model, images[0])
    x, y = x.to(device), y.to(device)
    found: dict[str, Any] = {"train_images": len(y)}
    if theory.noise_at:
        if max(theory.noise_at) > len(y):
            raise InputError(f"noise_at holds {max(theory.noise_at)}, but there are {len(y)} training images")
        gradients = {c: Gradient(method.losses, model, x, y, seed) for c, method in methods.items()}
        analysed = gradients[CHAIN_RULE].of_all()
        found["noise"] = bias_and_variance(gradients, analysed, theory.noise_at, theory.draws, seed)
    if theory.decay_over:
        found["decay"] = decays(model, methods, x, y, theory.decay_over, seed)
    return found


def decays(
    model: nn.Module, methods: dict[str, FastBAT], x: Tensor, y: Tensor, steps: Sequence[int], seed: int
) -> list[dict[str, Any]]:
    """Return how the gradient decays, by c: of mini-batches, and of all images by the chain rule's weight."""
    double = deepcopy(model).double()
    of = {c: Gradient(method.losses, double, x.double(), y, seed) for c, method in methods.items() if c != "0"}
    analysed, batch = of[CHAIN_RULE], min(BATCH, len(y))
    rows = [{"of": c, **row} for c, update in of.items() for row in decay(update, analysed, steps, batch, seed=seed)]
    rate = 1 / (STEP * lipschitz(analysed, seed))
    full = decay(analysed, analysed, [t for t in steps if t <= MOST_FULL], len(y), rate=rate, seed=seed)
    return [*rows, *({"of": CHAIN_RULE, **row} for row in full)]
