"""One update of each method next to its authors' released code, and each network next to theirs, in float64.

    python benchmarks/authors.py --fast-bat DIR --trades DIR ... [--data-dir DIR] [--json FILE]

A figure is |theirs - ours| / |theirs|: for a method, of the change of the weights in one update by plain SGD (FREE-AT: 9
updates, ATTA: 12 epochs); for a network, of its logits with equal weights, the larger of train and eval mode.

Both sides train copies of one network of the authors' own classes. Their files are imported from the checkouts and run
as they are: the function that makes the update or the whole of the script's main(). They get stand-ins for what they
read and for what a CPU lacks: data loaders, network, evaluation, apex, easydict, `.cuda()`; torch.FloatTensor is
float64, and nothing is saved. Where they normalise the data, they get normalised images, and our method gets the same
network behind that normalisation.

Noise: within a run rand, randn, rand_like, randn_like and Tensor.uniform_ take their numbers from a generator whose key
is the kind and the shape, so that both sides draw the same. A draw for one channel of (B, C, H, W) gets that channel of
the draw for all. ATTA's authors crop with Python's `random`; what they drew is given to ours.

Two sets of 6 images: uniform in [0.2, 0.8], which no perturbation takes to 0 or 1; and of the first 1,000 images of
CIFAR-10 the 6 with the most values of 255, padded by 4 black pixels, cropped and flipped. Takes minutes on one core.
"""

import argparse
import ast
import hashlib
import importlib
import io
import json
import logging
import random
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from copy import deepcopy
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from machine import git
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from fastbat import METHODS, Batch, InputError, build_model
from fastbat.data import View, load
from fastbat.methods import Method
from fastbat.models import MODELS, Normalize
from fastbat.randomness import generator

SIZE, EPS, LIMIT = 6, 8 / 255, 1e-12  # LIMIT: above it a figure is a difference, not rounding
YOPO = "experiments/CIFAR10/pre-res18.yopo-5-3"
FOLDERS = {  # where a checkout's modules are
    "fast-bat": ("",),
    "fast-adversarial": ("CIFAR10",),
    "understanding": ("",),
    "yopo": (YOPO, "lib"),
    "atta": ("",),
    "backsmooth": ("",),
    "n-fgsm": ("",),
    "trades": ("",),
}
SGD = "--lr-max 1 --momentum 0 --weight-decay 0 --lr-schedule multistep --epochs 1".split()
STAGES = [1, 1, 1, 1]  # blocks a stage of the networks that are trained


class Images(NamedTuple):
    """What an update is made on, float64."""

    x: Tensor  # (B, 3, 32, 32) in [0, 1]
    y: Tensor  # (B,)
    whole: Tensor  # (B, 3, 32, 32), before the crop


class Networks(NamedTuple):
    """One network before an update, after the authors' and after ours."""

    before: nn.Module
    theirs: nn.Module
    ours: nn.Module


# The methods: each returns the networks after the authors' update and after ours.


def fast_bat(images: Images, eps: int, **settings: Any) -> Networks:
    """FAST-BAT: their trainer, with the settings that their train.py makes of --attack_eps alone."""
    trained = shaken(module("model_zoo").PreActResNet(module("model_zoo").PreActBlock, STAGES))
    theirs, ours = deepcopy(trained), deepcopy(trained)
    args = fast_bat_settings("--attack_eps", str(eps))
    trainer, summed = module("trainer").BatTrainer(args, log=None), nn.CrossEntropyLoss(reduction="sum")
    trainer.train(theirs, [(images.x, images.y)], torch.optim.SGD(theirs.parameters(), lr=1.0), summed, "cpu")
    update(METHODS["fast-bat"](eps / 255, lam="released", **settings), ours, [Batch(images.x, images.y)])
    return Networks(trained, theirs, ours)


def fast_bat_settings(*flags: str) -> Any:
    """Return `args` as train.py leaves them before its logger: parsed, the attack's step found, eps over 255."""
    path = Path(sys.path[0]) / "train.py"
    (main,) = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.If))
    lines = list(takewhile(lambda node: not ast.unparse(node).startswith("log = "), main.body))
    names = {name: module(name) for name in ("argparse", "os", "torch")} | vars(module("utils.general_utils"))
    with patch.object(sys, "argv", ["train.py", *flags]):
        exec(compile(ast.Module(lines, []), str(path), "exec"), names)
    return names["args"]


def fast_adversarial(images: Images, script: str, flags: Sequence[str], method: Method, size: int = SIZE) -> Networks:
    """FAST-AT, PGD-k-AT, FREE-AT: main() of a script of fast_adversarial; FREE-AT on 4, 2 and 4 images."""
    theirs, means = module(script), (module("utils").cifar10_mean, module("utils").cifar10_std)
    cuts = [slice(0, 4), slice(4, 6), slice(2, 6)] if size < SIZE else [slice(0, SIZE)]
    batches = [Batch(images.x[cut], images.y[cut]) for cut in cuts]
    normal = [(Normalize(*means)(batch.x), batch.y) for batch in batches]
    nothing = {"evaluate_pgd": lambda *_: (0, 0), "evaluate_standard": lambda *_: (0, 0)}
    network, rate = shaken(module("preact_resnet").PreActResNet(module("preact_resnet").PreActBlock, STAGES)), 1.0
    trained, ours, made = deepcopy(network), deepcopy(network), iter((network, deepcopy(network)))
    stand_ins = {"get_loaders": lambda *_: (normal, []), "PreActResNet18": lambda: next(made), **nothing}
    if "--lr-max" in flags:
        rate = float(flags[list(flags).index("--lr-max") + 1])
    run_main(theirs, stand_ins, [*SGD, "--batch-size", str(size), *flags])
    update(method, nn.Sequential(Normalize(*means), ours), batches, rate)
    return Networks(trained, network, ours)


def fast_at_ga(images: Images) -> Networks:
    """FAST-AT-GA: main() of train.py at --attack_init zero; the rate at the end of their schedule is lr_max / 100."""
    theirs, models, utils = module("train"), module("models"), module("utils")
    network = shaken(models.PreActResNet(models.PreActBlock, STAGES, 10, cuda=False))
    trained, ours, zero = deepcopy(network), deepcopy(network), lambda *_, **__: 0.0
    loaders = iter([FromSecondEpoch([(images.x, images.y)]), [], [], []])
    flags = "--attack_init zero --grad_align_cos_lambda 0.2 --epochs 1 --lr_schedule piecewise --lr_max 100 --debug"
    with (
        patch.multiple(utils, initialize_weights=lambda _: None, configure_logger=logging.getLogger, avg_cos_np=zero),
        patch.multiple(utils, get_grad_np=zero),
        patch.object(models, "get_model", lambda *_: network),
        patch.object(module("data"), "get_loaders", lambda *_, **__: next(loaders)),
    ):
        stand_ins = {"rob_acc": lambda *_, **__: (0.0, 0.0, None)}
        utils.configure_logger = lambda *_: logging.getLogger("authors")
        run_main(theirs, stand_ins, [*flags.split(), "--weight_decay", "0"])
    update(METHODS["fast-at-ga"](EPS), ours, [Batch(images.x, images.y)])
    return Networks(trained, network, ours)


class FromSecondEpoch(list[Any]):
    """Batches that are there from the second epoch on: in their epoch 0 GradAlign's authors look and do not train."""

    epoch = 0

    def __iter__(self) -> Iterator[Any]:
        self.epoch += 1
        return super().__iter__() if self.epoch > 1 else iter(())


def yopo(images: Images) -> Networks:
    """YOPO-5-3: train_one_epoch, with K, n, the step and eps of their config.py."""
    network = module("network")
    trained = shaken(network.PreActResNet(network.PreActBlock, STAGES))
    theirs, ours = deepcopy(trained), deepcopy(trained)
    function, config = module("training_function"), module("config").config
    first, others = (torch.optim.SGD(part.parameters(), lr=1.0) for part in (theirs.layer_one, theirs.other_layers))
    steps = (config.inner_iters, config.sigma, config.eps)
    layer_one = function.FastGradientLayerOneTrainer(function.Hamiltonian(theirs.layer_one), first, *steps)
    batches, loss = [(images.x, images.y)], config.create_loss_function()
    function.train_one_epoch(theirs, batches, others, loss, layer_one, config.K, torch.device("cpu"))
    update(METHODS["yopo"](EPS), ours, [Batch(images.x, images.y)])
    return Networks(trained, theirs, ours)


def atta(images: Images) -> Networks:
    """ATTA-1-TRADES: main() of train_atta_cifar.py, 12 epochs of one batch, so that epoch 10 starts anew."""
    config = Path(sys.path[0]) / "data-config/cifar-trades-atta-1.json"
    flags = f"--epochs 12 --batch-size 50000 --save-freq 13 --lr {ATTA_RATE} --momentum 0 --wd 0 --no-cuda --config-file"
    with patch.object(sys, "argv", ["", *flags.split(), str(config)]):
        theirs = module("train_atta_cifar")
    network = shaken(theirs.WideResNet(depth=10, widen_factor=1))
    trained, ours, views, crop = deepcopy(network), deepcopy(network), [], theirs.atta_aug
    canvas = F.pad(images.whole, (4,) * 4, value=0.5)

    def cropped(canvas: Tensor, windows: Tensor) -> Any:
        windows, how = crop(canvas, windows)
        views.append(View(how["crop"]["x"].long(), how["crop"]["y"].long(), torch.tensor(how["flipped"]), 4))
        return windows, how

    random.seed(0)
    with patch.object(theirs.cifar_dataloader, "load_pading_training_data", lambda _: (canvas.clone(), images.y)):
        stand_ins = {"WideResNet": lambda: network, "atta_aug": cropped}
        with patch.object(np.random, "permutation", lambda _: np.arange(SIZE)):
            run_main(theirs, stand_ins, [])
    batches = [Batch(view.apply(images.whole), images.y, torch.arange(SIZE), view) for view in views]
    update(METHODS["atta"](0.031), ours, batches, ATTA_RATE)
    return Networks(trained, network, ours)


ATTA_RATE = 0.01


def loss_of(images: Images, name: str, network: nn.Module, function: Callable[..., Tensor], **settings: Any) -> Networks:
    """TRADES, BACKSMOOTH: a function that returns the loss of one update, at the published eps of 0.031."""
    trained, ours = deepcopy(shaken(network)), deepcopy(network)
    optimizer = torch.optim.SGD(network.train().parameters(), lr=1.0)
    function(network, images.x, images.y, optimizer, epsilon=0.031, **settings).backward()
    optimizer.step()
    update(METHODS[name](0.031), ours, [Batch(images.x, images.y)])
    return Networks(trained, network, ours)


def backsmooth(images: Images) -> Networks:
    """BACKSMOOTH: training_loss with the beta of their README."""
    models, settings = module("models.preact_resnet"), {"step_size": 0.031, "beta": 10.0}
    network = models.PreActResNet(models.PreActBlock, STAGES)
    return loss_of(images, "backsmooth", network, module("trades_backward").training_loss, **settings)


def trades(images: Images) -> Networks:
    """TRADES: trades_loss with the settings of their train_trades_cifar10.py."""
    network, settings = module("models.wideresnet").WideResNet(10, widen_factor=1), {"step_size": 0.007, "beta": 6.0}
    return loss_of(images, "trades", network, module("trades").trades_loss, **settings)


def n_fgsm(images: Images) -> Networks:
    """N-FGSM: main() of train.py with its own settings."""
    theirs, net = module("train"), module("architectures.preact_resnet")
    card = theirs.CIFAR10Utils()
    normalize = Normalize(card.cifar10_mean, card.cifar10_std)
    network = shaken(net.PreActResNet(net.PreActBlock, STAGES))
    trained, ours, batch = deepcopy(network), deepcopy(network), [(normalize(images.x), images.y, None)]
    with patch.object(theirs.CIFAR10Utils, "get_indexed_loaders", lambda *_, **__: (batch, [], [], [], [], [])):
        flags = [*SGD, "--robust_test_size", "0", "--out-dir", "out", "--root-model-dir", "models"]
        run_main(theirs, {"PreActResNet18": lambda **_: network}, flags)
    update(METHODS["n-fgsm"](EPS), nn.Sequential(normalize, ours), [Batch(images.x, images.y)])
    return Networks(trained, network, ours)


def update(method: Method, model: nn.Module, batches: Iterable[Batch], rate: float = 1.0) -> None:
    """Train `model` with our method and plain SGD."""
    optimizer = torch.optim.SGD(model.train().parameters(), rate)
    for batch in batches:
        for _ in range(getattr(method, "replays", 1)):
            for loss in method.losses(model, batch):
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()


