"""One update of each method next to its authors' released code, and each network next to theirs, in float64.

    python experiments/authors/compare.py --fast-bat DIR --trades DIR ... [--data-dir DIR] [--json FILE]

A figure is |theirs - ours| / |theirs|. For a method it is of the change of the weights in one update by plain SGD
(FREE-AT: 9 updates; ATTA: 12 epochs). For a network it is of its logits with equal weights, the larger of train and
eval mode.

Both sides train copies of one network of the authors' own classes. The authors' files are imported from the checkouts
and run as they are: the function that makes the update, or a script's whole main(). They get stand-ins for data
loaders, network, evaluation, apex, easydict and `.cuda()`. torch.FloatTensor is float64, and nothing is saved. Where
they normalise the data they get normalised images, and our method gets the same network behind that normalisation.

The derivative of torch.clamp, max and min at a tie has changed since. Both sides run with that of the torch versions
that the authors name, 1.0 to 1.8: clamp has 1 at its bounds (torch 2.14: 0), and max(a, b) and min(a, b) give a tie to
b (today: half to each). Rows marked "today's ties" run with those of the torch that is installed.

Noise: torch.rand, randn, rand_like, randn_like, Tensor.uniform_ and normal_ return numbers that depend on distribution
and shape alone, so both sides draw the same. A draw for one channel of a batch gets that channel of the batch's draw.
ATTA's authors crop with Python's `random`; the crops they drew are given to ours.

There are two sets of 6 images. One is uniform in [0.2, 0.8], which no perturbation takes to 0 or 1. The other is real:
of the first 1,000 training images of CIFAR-10 those with the most values of 255, padded by 4 black pixels, cropped and
flipped; half of their values are 0 or 1. All rows take two minutes on one core.
"""

import argparse
import ast
import hashlib
import importlib
import io
import json
import logging
import math
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from copy import deepcopy
from functools import partial
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, NoReturn
from unittest.mock import MagicMock, patch

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from fastbat import METHODS, Batch, InputError, build_model
from fastbat.data import View, load
from fastbat.methods import Method
from fastbat.models import MODELS, Normalize
from fastbat.randomness import generator

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from machine import machine

SIZE, EPS, EPS_TRADES = 6, 8 / 255, 0.031  # images; eps of most, and of TRADES, ATTA and BACKSMOOTH
LIMIT = 1e-12  # a figure above it is a difference, below it rounding
STAGES = [1, 1, 1, 1]  # blocks a stage of the networks that are trained
ATTA_RATE, FREE_RATE, CS_RATE, RATE = 0.01, 0.1, 0.01, 0.001  # RATE: of the recent methods
SGD = "--momentum 0 --weight-decay 0 --lr-schedule multistep --epochs 1 --lr-max 1 --batch-size 6 "
module = importlib.import_module  # of a checkout, within `authors`


class Images(NamedTuple):
    """What an update is made on."""

    x: Tensor  # (B, 3, 32, 32) float64 in [0, 1]
    y: Tensor  # (B,)
    whole: Tensor  # (B, 3, 32, 32), before the crop


class Networks(NamedTuple):
    """A network before the update, after the authors' and after ours."""

    before: nn.Module
    theirs: nn.Module
    ours: nn.Module


# The methods: the authors' update, then ours


def fast_bat(name: str, eps: int, flags: str, images: Images, **settings: Any) -> Networks:
    """FAST-BAT and their FAST-AT-GA: their trainer, with the settings that their train.py makes of the flags."""
    zoo, args = module("model_zoo"), fast_bat_settings("--attack_eps", str(eps), *flags.split())
    sides = copies(zoo.PreActResNet(zoo.PreActBlock, STAGES))
    optimizer, loss = torch.optim.SGD(sides.theirs.parameters(), lr=1.0), nn.CrossEntropyLoss(reduction="sum")
    module("trainer").BatTrainer(args, log=None).train(sides.theirs, [images[:2]], optimizer, loss, "cpu")
    update(METHODS[name](eps / 255, **settings), sides.ours, [Batch(*images[:2])])
    return sides


def fast_bat_settings(*flags: str) -> Any:
    """Return `args` as train.py has them where it makes its logger: parsed, attack_lr set, eps over 255."""
    path = Path(sys.path[0]) / "train.py"
    (main,) = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.If))
    lines = list(takewhile(lambda node: not ast.unparse(node).startswith("log = "), main.body))
    names = vars(module("utils.general_utils")) | {name: module(name) for name in ("argparse", "os", "torch")}
    with patch.object(sys, "argv", ["train.py", *flags]):
        exec(compile(ast.Module(lines, []), str(path), "exec"), names)
    return names["args"]


def fast_adversarial(
    script: str, method: Callable[[], Method], images: Images, flags: str = "", cuts: str = "0:6", rate: float = 1.0
) -> Networks:
    """FAST-AT, PGD-k-AT, FREE-AT: main() of a script of fast_adversarial, a batch per cut of the images."""
    net, utils, theirs = module("preact_resnet"), module("utils"), module(script)
    normalize = Normalize(utils.cifar10_mean, utils.cifar10_std)
    sides = copies(net.PreActResNet(net.PreActBlock, STAGES))
    made = iter((sides.theirs, deepcopy(sides.theirs)))  # the second is their model_test
    slices = [slice(*map(int, cut.split(":"))) for cut in cuts.split()]
    batches = [Batch(images.x[cut], images.y[cut]) for cut in slices]
    run_main(
        theirs,
        f"{SGD} {flags} --lr-max {rate}",
        get_loaders=lambda *_: ([(normalize(batch.x), batch.y) for batch in batches], []),
        PreActResNet18=lambda: next(made),
        evaluate_pgd=lambda *_: (0, 0),
        evaluate_standard=lambda *_: (0, 0),
    )
    update(method(), nn.Sequential(normalize, sides.ours), batches, rate)
    return sides


def fast_at_ga(images: Images) -> Networks:
    """FAST-AT-GA: main() of train.py; the rate at the end of their schedule is lr_max / 100."""
    theirs, models, utils, data = map(module, ("train", "models", "utils", "data"))
    sides = copies(models.PreActResNet(models.PreActBlock, STAGES, 10, cuda=False))
    loaders = iter((FromSecondEpoch([images[:2]]), [], [], []))
    unused = {"initialize_weights": nothing, "get_grad_np": nothing, "avg_cos_np": lambda *_: 0.0}
    with (
        patch.object(data, "get_loaders", lambda *_, **__: next(loaders)),
        patch.object(models, "get_model", lambda *_: sides.theirs),
        patch.multiple(utils, configure_logger=lambda *_: logging.getLogger("authors"), **unused),
    ):
        flags = "--attack_init zero --grad_align_cos_lambda 0.2 --epochs 1 --lr_schedule piecewise --lr_max 100"
        run_main(theirs, f"{flags} --weight_decay 0", rob_acc=lambda *_, **__: (0.0, 0.0, None))
    update(METHODS["fast-at-ga"](EPS), sides.ours, [Batch(*images[:2])])
    return sides


class FromSecondEpoch(list[Any]):
    """Batches that are there from the second epoch on: in their epoch 0 GradAlign's authors look and do not train."""

    epoch = 0

    def __iter__(self) -> Iterator[Any]:
        """Iterate over nothing the first time."""
        self.epoch += 1
        return super().__iter__() if self.epoch > 1 else iter(())


def yopo(images: Images) -> Networks:
    """YOPO-5-3: train_one_epoch, with K, n, step and eps of their config.py."""
    net, function, config = module("network"), module("training_function"), module("config").config
    sides = copies(net.PreActResNet(net.PreActBlock, STAGES))
    parts = sides.theirs.layer_one, sides.theirs.other_layers
    first, others = (torch.optim.SGD(part.parameters(), lr=1.0) for part in parts)
    inner = config.inner_iters, config.sigma, config.eps
    layer_one = function.FastGradientLayerOneTrainer(function.Hamiltonian(parts[0]), first, *inner)
    loss, device = config.create_loss_function(), torch.device("cpu")
    function.train_one_epoch(sides.theirs, [images[:2]], others, loss, layer_one, config.K, device)
    update(METHODS["yopo"](EPS), sides.ours, [Batch(*images[:2])])
    return sides


def atta(images: Images) -> Networks:
    """ATTA-1-TRADES: main() of train_atta_cifar.py, 12 epochs of one batch; epoch 10 starts anew."""
    flags = (
        f"--epochs 12 --batch-size 50000 --save-freq 13 --lr {ATTA_RATE} --momentum 0 --wd 0 --no-cuda --config-file"
    )
    with patch.object(sys, "argv", ["", *flags.split(), f"{sys.path[0]}/data-config/cifar-atta-1-trades.json"]):
        theirs = module("train_atta_cifar")
    sides = copies(theirs.WideResNet(depth=10, widen_factor=1))
    canvas, crop, views = F.pad(images.whole, (4,) * 4, value=0.5), theirs.atta_aug, []

    def atta_aug(canvas: Tensor, windows: Tensor) -> Any:
        windows, how = crop(canvas, windows)
        views.append(View(how["crop"]["x"].long(), how["crop"]["y"].long(), torch.tensor(how["flipped"]), 4))
        return windows, how

    random.seed(0)
    with (
        patch.object(theirs.cifar_dataloader, "load_pading_training_data", lambda _: (canvas.clone(), images.y)),
        patch.object(np.random, "permutation", lambda _: np.arange(SIZE)),  # theirs is of 50,000 images
    ):
        run_main(theirs, "", WideResNet=lambda: sides.theirs, atta_aug=atta_aug)
    batches = [Batch(view.apply(images.whole), images.y, torch.arange(SIZE), view) for view in views]
    update(METHODS["atta"](EPS_TRADES), sides.ours, batches, ATTA_RATE)
    return sides


def backsmooth(images: Images) -> Networks:
    """BACKSMOOTH: training_loss, with the beta of their README."""
    net, loss = module("models.preact_resnet"), module("trades_backward").training_loss
    return by_loss("backsmooth", images, net.PreActResNet(net.PreActBlock, STAGES), partial(loss, beta=10.0))


def trades(images: Images) -> Networks:
    """TRADES: trades_loss, with step and beta of their train_trades_cifar10.py."""
    network, loss = module("models.wideresnet").WideResNet(10, widen_factor=1), module("trades").trades_loss
    return by_loss("trades", images, network, partial(loss, step_size=0.007, beta=6.0))


def by_loss(name: str, images: Images, network: nn.Module, loss: Callable[..., Tensor]) -> Networks:
    """Step on a loss of the authors, whose attack is inside."""
    sides = copies(network)
    optimizer = torch.optim.SGD(sides.theirs.parameters(), lr=1.0)
    loss(sides.theirs, images.x, images.y, optimizer, epsilon=EPS_TRADES).backward()
    optimizer.step()
    update(METHODS[name](EPS_TRADES), sides.ours, [Batch(*images[:2])])
    return sides


def n_fgsm(images: Images) -> Networks:
    """N-FGSM: main() of train.py."""
    theirs, net = module("train"), module("architectures.preact_resnet")
    normalize = Normalize(theirs.CIFAR10Utils().cifar10_mean, theirs.CIFAR10Utils().cifar10_std)
    sides = copies(net.PreActResNet(net.PreActBlock, STAGES))
    loaders = [(normalize(images.x), images.y, None)], [], [], [], [], []
    data = {"img_size": (32, 32), "max_label": 9, "get_indexed_loaders": lambda *_, **__: loaders}
    with patch.multiple(theirs.CIFAR10Utils, create=True, **data):
        flags = "--robust_test_size 0 --out-dir out --root-model-dir models"
        run_main(theirs, SGD + flags, PreActResNet18=lambda **_: sides.theirs)
    update(METHODS["n-fgsm"](EPS), nn.Sequential(normalize, sides.ours), [Batch(*images[:2])])
    return sides


def fgsm_rs_cs(images: Images) -> Networks:
    """FGSM-RS-CS: 4 epochs of two batches. Three of the script's flags are read and not declared: here they are set."""
    utils, models, net = module("utils"), module("models"), module("models.resnet")
    sides = copies(net.ResNet(net.BasicBlock, STAGES))
    cuts = [slice(0, 4), slice(4, SIZE)]
    parsed, made = argparse.ArgumentParser.parse_args, iter([sides.theirs, *(deepcopy(sides.theirs) for _ in range(4))])
    unused = {"evaluate_pgd": lambda *_: (0, 0), "evaluate_standard": lambda *_: (0, 0)}
    with (
        patch.multiple(
            utils, get_all_loaders=lambda *_: ([(images.x[cut], images.y[cut]) for cut in cuts], []), **unused
        ),
        patch.object(models, "ResNet18", lambda *_: next(made)),
        patch.object(
            argparse.ArgumentParser,
            "parse_args",
            lambda parser: argparse.Namespace(**vars(parsed(parser)), lr=CS_RATE, epochs=4, stride=1),
        ),
    ):
        run_script("FGSM_RS_CS.py", "--epsilon 8 --alpha 8 --momentum 0 --weight-decay 0")
    batches = [Batch(images.x[cut], images.y[cut], torch.arange(SIZE)[cut]) for _ in range(4) for cut in cuts]
    update(METHODS["fgsm-rs-cs"](EPS), sides.ours, batches, CS_RATE)
    return sides


def liet(config: str, images: Images) -> Networks:
    """LIET: the script, two epochs of two batches. Their settings for 16/255 are tried under their name of 8/255's."""
    utils, models, net = module("utils"), module("models"), module("models.resnet")
    configs = yaml.safe_load((Path(sys.path[0]) / "configs" / "configs.yaml").read_text())
    Path("configs").mkdir()
    Path("configs/configs.yaml").write_text(yaml.safe_dump({"cifar10": configs[config] | {"epochs": 2}}))
    sides, pair = copies(net.ResNet(net.BasicBlock, STAGES)), [images[:2], [part.flip(0) for part in images[:2]]]
    with (
        patch.object(utils, "get_loader", lambda *_: (pair, [images[:2]])),
        patch.object(models, "ResNet18", lambda **_: sides.theirs),
        patch.object(torch.optim, "SGD", plain_sgd(RATE)),
        patch.object(torch.optim.lr_scheduler, "OneCycleLR", MagicMock()),
    ):
        run_script("main.py", "--dataset cifar10", stop="logger.new_line()")
    batches = [Batch(*part, step=k, progress=(epoch + 1) / 2) for epoch in range(2) for k, part in enumerate(pair)]
    update(METHODS["liet"](configs[config]["eps"] / 255), sides.ours, batches, RATE)
    return sides


def fgsm_mep(images: Images) -> Networks:
    """FGSM-MEP: main() of FGSM_MEP.py, 3 epochs of one batch. It holds 50,000 images, which are cut to ours."""
    theirs, net = module("FGSM_MEP"), module("models.resnet")
    sides = copies(net.ResNet(net.BasicBlock, STAGES))
    made = iter([sides.theirs, *(deepcopy(sides.theirs) for _ in range(3))])
    random.seed(0)
    with (
        patch.object(np.random, "permutation", lambda _: np.arange(SIZE)),
        patch.object(torch, "randperm", torch.arange),
        patch.object(torch, "rand", lambda _, *shape: uniform(SIZE, *shape)),
    ):
        run_main(
            theirs,
            f"--epochs 3 --batch-size 50000 --lr-max {RATE} --momentum 0 --weight-decay 0",
            get_all_loaders=lambda *_: ([(F.pad(images.whole, (4,) * 4), images.y)], []),
            ResNet18=lambda: next(made),
            evaluate_pgd=lambda *_: (0, 0),
            evaluate_standard=lambda *_: (0, 0),
        )
    random.seed(0)
    batches = [Batch(drawn_view().apply(images.whole), images.y, torch.arange(SIZE)) for _ in range(3)]
    update(METHODS["fgsm-mep"](EPS), sides.ours, batches, RATE)
    return sides


def tdat(images: Images) -> Networks:
    """TDAT: main() of TDAT.py with the lambda of their README, 4 epochs of two batches."""
    theirs, net = module("TDAT"), module("models.resnet")
    sides, pair = copies(net.ResNet(net.BasicBlock, STAGES)), [images[:2], [part.flip(0) for part in images[:2]]]
    made = iter([sides.theirs, *(deepcopy(sides.theirs) for _ in range(4))])
    run_main(
        theirs,
        f"--lamda 0.6 --epochs 4 --batch-size {SIZE} --lr-max {RATE} --momentum 0 --weight-decay 0 --milestone1 9",
        cifar10_get_loaders=lambda *_: (pair, []),
        ResNet18=lambda: next(made),
        evaluate_pgd=lambda *_: (0, 0),
        evaluate_standard=lambda *_: (0, 0),
    )
    batches = [Batch(*part, progress=epoch / 4) for epoch in range(4) for part in pair]
    update(METHODS["tdat"](EPS), sides.ours, batches, RATE)
    return sides


def nuat(images: Images) -> Networks:
    """NuAT-WA: the script up to its evaluation, 2 epochs of two batches, with BatchNorm's statistics held.

    They would differ: the authors' BatchNorm sees the clean images twice, and their attack reads its statistics.
    """
    net, gradcheck, datasets = map(module, ("WideResNet", "torch.autograd.gradcheck", "torchvision.datasets"))
    Path("ResNet.py").write_text("ResNet18 = network")  # which the script runs, within its own names
    network = net.Wide_ResNet(
        10, 1, dropout_rate=0.0, num_classes=10
    )  # their ResNet adds in place to what ReLU keeps today
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 0.0
    sides, pair = copies(network), [images[:2], [part.flip(0) for part in images[:2]]]
    loaders = iter([pair, [], []])
    with (
        patch.object(gradcheck, "zero_gradients", nothing, create=True),  # of the torch of 2021
        patch.object(torch, "set_default_tensor_type", nothing),
        patch.object(datasets, "CIFAR10", lambda *_, **__: []),
        patch.object(torch.utils.data, "DataLoader", lambda *_, **__: next(loaders)),
        patch.object(torch.optim, "SGD", plain_sgd(RATE)),
        patch.object(torch.optim.lr_scheduler, "CyclicLR", MagicMock()),
    ):
        flags = f"-EXP_NAME nuat -MAX_EPOCHS 2 -b_size {SIZE}"
        run_script("NuAT_WA_cifar10.py", flags, stop="model.eval()", network=lambda: sides.theirs)
    batches = [Batch(*part, step=k, progress=epoch / 2) for epoch in range(2) for k, part in enumerate(pair)]
    update(METHODS["nuat"](EPS), sides.ours, batches, RATE)
    return sides


def elle_a(images: Images) -> Networks:
    """ELLE-A: the trainer's train(), 8 updates. It steps the optimizer twice in each, ours once at twice the rate."""
    theirs, net = module("core.utils.train"), module("core.models.preact_resnet")
    sides = copies(net.PreActResNet(net.PreActBlock, STAGES))
    batches = [Batch(images.x.roll((k, k), (0, 3)), images.y.roll(k)) for k in range(8)]
    off = "SLAT BAT GAT clamp clip_grad track_logits_alignment track_loss_alignment track_lin_err track_lin_err_05"
    attack = {"attack_eps": EPS, "attack_step": EPS, "attack_iter": 1, "input_noise_rate": 0.0}
    onoff = {"lambda_schedule": "onoff", "lin_reg": 0, "lambda_aux": 4000, "sensitivity": 2, "decay_rate": 0.99}
    others = {"reg": "ELLE", "scheduler": "", "n_triplets": 1, "fname": ".", "track_lin_err_max_curve": False}
    trainer = object.__new__(theirs.Trainer)
    trainer.args = trainer.params = SimpleNamespace(**dict.fromkeys(off.split(), False), **attack, **onoff, **others)
    trainer.model, trainer.criterion, trainer.elle_values = sides.theirs, nn.CrossEntropyLoss(), []
    trainer.optimizer = torch.optim.SGD(sides.theirs.parameters(), RATE)
    trainer.train([(batch.x, batch.y) for batch in batches])
    update(METHODS["elle-a"](EPS), sides.ours, batches, 2 * RATE)
    return sides


def sora(images: Images) -> Networks:
    """SORA: train(), two epochs of two batches, on images that are not normalised.

    From its second batch on it hands the attack two arguments that this does not take; they are left out.
    """
    theirs, net, attack = map(module, ("training.train", "architectures.preact_resnet", "attacks.sora"))
    sides = copies(net.PreActResNet(net.PreActBlock, STAGES))
    pair, zero, one = [images[:2], [part.flip(0) for part in images[:2]]], torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    args = {"attack": "SORA", "dataset": "CIFAR10", "model": "", "root_path": "", "seed": 0, "attack_norm": "Linf"}
    args |= {"epsilon": EPS, "epochs": 2, "optimizer": "SGD", "scheduler": "None", "momentum": 0.0, "weight_decay": 0.0}
    with (
        patch.multiple(
            theirs,
            get_loaders=lambda *_: (pair, [], one, zero, zero, one, [], 10, SIZE, 0),
            get_model=lambda *_: sides.theirs,
            get_attack=lambda _: lambda *args, alignment=0, prev_batch_alpha=0, **how: attack.sora(*args, **how),
            save_checkpoint=nothing,
        ),
        patch.object(theirs, "open", lambda *_: io.StringIO(), create=True),
    ):
        theirs.train(argparse.Namespace(**args, initial_lr=RATE), "cpu")
    update(METHODS["sora"](EPS), sides.ours, [Batch(*part) for part in 2 * pair], RATE)
    return sides


def fgsm_uap(name: str, per: str, images: Images) -> Networks:
    """FGSM-UAP: train() of one of their classes, two epochs of two batches."""
    theirs, net = module(f"fat.{name.lower()}"), module("models.resnet")
    sides = copies(net.ResNet(net.BasicBlock, STAGES))
    pair = [images[:2], [part.flip(0) for part in images[:2]]]
    trainer = getattr(theirs, name)(sides.theirs)
    trainer.train(torch.optim.SGD(sides.theirs.parameters(), RATE), MagicMock(), pair, [], total_epoch=2, eval_start=9)
    update(METHODS["fgsm-uap"](EPS, per=per), sides.ours, [Batch(*part) for part in 2 * pair], RATE)
    return sides


def drawn_view() -> View:
    """Return crops and flips, drawn as FGSM-MEP's authors draw them."""
    drawn = [(random.getrandbits(1), random.randint(0, 8), random.randint(0, 8)) for _ in range(SIZE)]
    flip, top, left = map(torch.tensor, zip(*drawn, strict=True))
    return View(top, left, flip.bool(), 4)


def plain_sgd(rate: float) -> Callable[..., torch.optim.SGD]:
    """Return a stand-in for SGD: without momentum and decay, at this rate."""
    sgd = torch.optim.SGD
    return lambda weights, *_, **__: sgd(weights, rate)


def todays_ties(run: Callable[[Images], Networks], images: Images) -> Networks:
    """Run with clamp, max and min of the torch that is installed."""
    with patch.multiple(torch, **TODAY):
        return run(images)


def update(method: Method, model: nn.Module, batches: Iterable[Batch], rate: float = 1.0) -> None:
    """Train `model` by our method and plain SGD."""
    optimizer = torch.optim.SGD(model.parameters(), rate)
    for batch in batches:
        for _ in range(method.traits.replays):
            for loss in method.losses(model, batch):
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()


def copies(network: nn.Module) -> Networks:
    """Return the network three times in train mode, its weights and statistics drawn anew."""
    rng = generator("network")
    for name, tensor in network.state_dict().items():
        noise = torch.from_numpy(np.array(rng.standard_normal(tensor.shape)))
        if tensor.dim() > 1:  # a convolution, or the last layer
            tensor.copy_(noise * math.sqrt((2 if tensor.dim() == 4 else 0.02) / tensor[0].numel()))
        elif tensor.dim() == 1:
            tensor.copy_(0.1 * noise if name.endswith(("bias", "mean")) else 0.5 + noise.abs())
    return Networks(*(deepcopy(network).train() for _ in range(3)))


# The networks: the authors' with random weights, ours with theirs

PREACT = {
    r"^conv1\.": "stem.",
    r"^(?:other_)?layer(\d)\.": r"stages.\1.",
    r"shortcut\.0\.": "shortcut.",
    r"^linear\.fc\.": "linear.",
}
WIDE = {
    r"^f\.0_convolution\.": "stem.",
    r"^f\.4_normalization\.": "bn.",
    r"^f\.(\d)_block\.block\.": r"stages.\1.",
    r"(?:norm_act|block)\.0_normalization": "bn1",
    r"block\.[02]_convolution": "conv1",
    r"block\.[13]_normalization": "bn2",
    r"block\.[46]_convolution": "conv2",
    r"downsample\.": "shortcut.",
}


def logits(file: str, images: Images, shortcut: str = "raw", last: bool = True, **settings: Any) -> float:
    """Return the relative difference of the logits of PreActResNet-18, ours without its `last` BatchNorm and ReLU."""
    ours = build_model(NET, shortcut=shortcut)
    if not last:
        ours.network.bn = ours.network.act = nn.Identity()
    return difference(images, module(file).PreActResNet18(**settings), ours, PREACT)


def wide_logits(images: Images) -> float:
    """Return the relative difference of the logits of FAST-BAT's WRN-16-8."""
    return difference(images, module("model_zoo").WRN_16_8(dropout=0.0), build_model(WRN, dropout=0.0), WIDE)


def difference(images: Images, theirs: nn.Module, ours: nn.Module, names: dict[str, str]) -> float:
    """Return the relative difference of the logits, with their weights in ours."""
    network, theirs = ours.get_submodule("network"), copies(theirs).theirs
    network.load_state_dict(renamed(theirs.state_dict(), names, network.state_dict()))
    with torch.no_grad():
        return max(off(theirs.train(mode)(images.x), ours.train(mode)(images.x)) for mode in (False, True))


def renamed(theirs: dict[str, Tensor], names: dict[str, str], own: Iterable[str]) -> dict[str, Tensor]:
    """Return their weights by our names; their stages count from 1, and a layer may have a second name."""
    found = {}
    for name, tensor in theirs.items():
        for pattern, ours in names.items():
            name = re.sub(pattern, ours, name)
        found[re.sub(r"stages\.(\d)", lambda stage: f"stages.{int(stage[1]) - 1}", name)] = tensor
    return {name: found[name] for name in found.keys() & set(own)}


# The authors' code, run here


@contextmanager
def authors(root: Path, folders: Sequence[str]) -> Iterator[dict[str, str]]:
    """Let modules in `folders` of `root` be imported within the block; afterwards the dict has their files' SHA-256."""
    before, ran = set(sys.modules), dict[str, str]()
    with ExitStack() as stack:
        stack.enter_context(chdir(stack.enter_context(TemporaryDirectory())))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        for where, name, what in STAND_INS:
            stack.enter_context(patch.object(where, name, what))
        stack.enter_context(patch.object(sys, "path", [*(str(root / folder) for folder in folders), *sys.path]))
        stack.enter_context(patch.object(sys, "argv", [""]))
        yield ran
    for name in set(sys.modules) - before:
        places = [getattr(sys.modules[name], "__file__", None), *getattr(sys.modules[name], "__path__", [])]
        places = [Path(place) for place in places if place and Path(place).is_relative_to(root)]
        ran |= {str(place.relative_to(root)): sha256(place) for place in places if place.is_file()}
        if places:
            del sys.modules[name]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_main(script: ModuleType, flags: str, **stand_ins: Any) -> None:
    """Run a script's main() on a command line, some of its names replaced."""
    with patch.multiple(script, **stand_ins), patch.object(sys, "argv", ["", *flags.split()]):
        script.main()


def run_script(file: str, flags: str = "", stop: str = "", **names: Any) -> None:
    """Run a script that has no main(), on a command line, up to the first statement that begins with `stop`.

    It finds `names` among its own.
    """
    path = Path(sys.path[0]) / file
    goes_on = (lambda node: not ast.unparse(node).startswith(stop)) if stop else lambda _: True
    body = list(takewhile(goes_on, ast.parse(path.read_text()).body))
    with patch.object(sys, "argv", ["", *flags.split()]):
        exec(compile(ast.Module(body, []), str(path), "exec"), {"__name__": "__main__", **names})


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def itself(what: Any, *_: Any, **__: Any) -> Any:
    """Return the first argument."""
    return what


def uniform(*shape: int) -> Tensor:
    """Return U(0, 1), the same for the same shape; a single number is the same in any."""
    key = shape if math.prod(shape) > 1 else (1,)
    return torch.from_numpy(generator("uniform", *key).random(shape))


def normal(*shape: int) -> Tensor:
    """Return N(0, 1), the same for the same shape."""
    return torch.from_numpy(generator("normal", *shape).standard_normal(shape))


def fill_uniform(tensor: Tensor, low: float = 0.0, high: float = 1.0, **_: Any) -> Tensor:
    """Stand in for Tensor.uniform_.

    One channel (B, H, W) of a batch gets that channel of the batch's draw, an image of its own that of a batch of one.
    """
    if tensor.dim() != 3:
        return tensor.copy_(low + (high - low) * uniform(*tensor.shape))
    if tensor._base is None:
        return tensor.copy_(low + (high - low) * uniform(1, *tensor.shape)[0])
    size, height, width = tensor.shape
    channels, channel = (place // (height * width) for place in (tensor.stride(0), tensor.storage_offset()))
    return tensor.copy_(low + (high - low) * uniform(size, channels, height, width)[:, channel])


def clamp(x: Tensor, min: float | Tensor | None = None, max: float | Tensor | None = None) -> Tensor:
    """Stand in for torch.clamp, with derivative 1 at the bounds."""
    clamped = TODAY["clamp"](x.detach(), min, max)
    return torch.where(clamped == x, x, clamped)


def tie_to_second(name: str, ahead: Callable[..., Tensor]) -> Callable[..., Any]:
    """Return a stand-in for torch.max or torch.min of two tensors; anything else is passed on."""

    def chosen(x: Tensor, *other: Any, **how: Any) -> Any:
        if len(other) == 1 and isinstance(other[0], Tensor):
            return torch.where(ahead(x, other[0]), x, other[0])
        return TODAY[name](x, *other, **how)

    return chosen


TODAY = {"clamp": torch.clamp, "max": torch.max, "min": torch.min}
STAND_INS: list[tuple[Any, str, Any]] = [
    (torch, "FloatTensor", torch.DoubleTensor),
    (torch.cuda, "FloatTensor", torch.DoubleTensor),
    (torch, "save", nothing),
    (logging, "basicConfig", nothing),
    (torch.Tensor, "cuda", itself),
    (nn.Module, "cuda", itself),
    (torch.Tensor, "float", torch.Tensor.double),
    (torch.Tensor, "uniform_", fill_uniform),
    (torch.Tensor, "normal_", lambda x, mean=0.0, std=1.0, **_: x.copy_(mean + std * normal(*x.shape))),
    (torch, "rand", lambda *shape, **_: uniform(*torch.empty(*shape).shape)),
    (torch, "randn", lambda *shape, **_: normal(*torch.empty(*shape).shape)),
    (torch, "rand_like", lambda x, **_: uniform(*x.shape)),
    (torch, "randn_like", lambda x, **_: normal(*x.shape)),
    (torch, "clamp", clamp),
    (torch, "max", tie_to_second("max", torch.gt)),
    (torch, "min", tie_to_second("min", torch.lt)),
]
AMP = SimpleNamespace(initialize=lambda model, opt, **_: (model, opt), scale_loss=lambda loss, _: nullcontext(loss))
MISSING = {  # modules that an update does not need, or not on a CPU
    "apex": SimpleNamespace(amp=AMP),
    "apex.amp": AMP,
    "easydict": MagicMock(),
    "tensorboardX": MagicMock(),
    "autoattack": MagicMock(),
    "dataloaders.get_loaders": MagicMock(),  # of SORA; one of them imports what is not there
    "attacks.fgm": MagicMock(),  # missing in SORA's repository, too
    "attacks.fgm_rs": MagicMock(),
    "torchattacks": SimpleNamespace(PGD=lambda *_, **__: itself, FGSM=lambda *_, **__: itself),
    "models.mobilenetv2": SimpleNamespace(),  # missing in ConvergeSmooth's repository, too
    "models.shufflenetv2": SimpleNamespace(),
    "attack.torchattacks": MagicMock(),  # of Fast-BAT, for evaluation; wants an old scipy
}


# The table


class Case(NamedTuple):
    """A row: a method or a network of ours, the authors' files it is compared with, and the comparison."""

    name: str
    checkout: str
    files: str  # apart by a space; the table shows the first
    run: Callable[[Images], Networks | float]
    remark: str = ""
    known: str = ""  # why the figure on real crops is above LIMIT


YOPO = "experiments/CIFAR10/pre-res18.yopo-5-3/"
CHECKOUTS = {  # by option: the repository, and the folders that its modules are imported from
    "fast-bat": ("OPTML-Group/Fast-BAT", [""]),
    "fast-adversarial": ("locuslab/fast_adversarial", ["CIFAR10"]),
    "understanding": ("tml-epfl/understanding-fast-adv-training", [""]),
    "yopo": ("a1600012888/YOPO-You-Only-Propagate-Once", [YOPO, "lib"]),
    "atta": ("haizhongzheng/ATTA", [""]),
    "backsmooth": ("jinghuichen/BackwardSmoothing", [""]),
    "n-fgsm": ("pdejorge/N-FGSM", [""]),
    "trades": ("yaodongyu/TRADES", [""]),
    "converge-smooth": ("FAT-CS/ConvergeSmooth", [""]),
    "liet": ("fzjcdt/LIET", [""]),
    "fgsm-pgi": ("jiaxiaojunQAQ/FGSM-PGI", [""]),
    "tdat": ("bookman233/TDAT", [""]),
    "nuat": ("val-iisc/NuAT", ["CIFAR10"]),
    "elle": ("LIONS-EPFL/ELLE", [""]),
    "sora": ("SecondOrderAT/SORA", ["src"]),
    "fgsm-uap": ("fzjcdt/fgsm_uap", [""]),
}
NET, WRN, NO_LAST = "preactresnet18", "wideresnet-16-8-released", "ours without its last BatchNorm and ReLU"
WONG, TIES = "fast-adversarial", ", today's ties"
GA = "train.py:152: at pixels of 0 and 1 {}"
YOPO_TIES = "training_function.py:34: no step where x + d is 0 or 1"
FREE = {"flags": "--minibatch-replays 3 --batch-size 4", "cuts": "0:4 4:6 2:6", "rate": FREE_RATE}


def bat(label: str, name: str, eps: int, flags: str = "", **settings: Any) -> Case:
    """Return the row of a method in Fast-BAT."""
    return Case(label, "fast-bat", "trainer.py train.py", partial(fast_bat, name, eps, flags, **settings))


def wong(script: str, name: str, how: dict[str, Any] | None = None, **settings: Any) -> Case:
    """Return the row of a method in fast_adversarial."""
    run = partial(fast_adversarial, script, partial(METHODS[name], EPS, **settings), **(how or {}))
    return Case(name, WONG, f"CIFAR10/{script}.py", run)


CASES = (
    bat("fast-bat, eps 8", "fast-bat", 8, lam="released"),
    bat("fast-bat, eps 16", "fast-bat", 16, lam="released"),
    bat("fast-bat, hessian-free", "fast-bat", 8, lam="released", ig_mode="hessian-free"),
    wong("train_fgsm", "fast-at"),
    wong("train_pgd", "pgd-2", {"flags": "--attack-iters 2 --alpha 4"}),
    wong("train_pgd", "pgd-7"),
    wong("train_free", "free-at", FREE, replays=3),
    Case("fast-at-ga", "understanding", "train.py", fast_at_ga, known=GA.format("gradient 0, no step")),
    Case(
        "fast-at-ga" + TIES,
        "understanding",
        "train.py",
        partial(todays_ties, fast_at_ga),
        known=GA.format("half its gradient"),
    ),
    bat("fast-at-ga", "fast-at-ga", 8, "--mode fast_at_ga --ga_coef 0.2"),
    Case("yopo", "yopo", f"{YOPO}training_function.py", yopo),
    Case("yopo" + TIES, "yopo", f"{YOPO}training_function.py", partial(todays_ties, yopo), known=YOPO_TIES),
    Case("atta", "atta", "train_atta_cifar.py", atta),
    Case("backsmooth", "backsmooth", "trades_backward.py", backsmooth),
    Case("n-fgsm", "n-fgsm", "train.py", n_fgsm),
    Case("trades", "trades", "trades.py", trades),
    Case("fgsm-rs-cs", "converge-smooth", "FGSM_RS_CS.py", fgsm_rs_cs),
    Case("liet, eps 8", "liet", "main.py configs/configs.yaml", partial(liet, "cifar10")),
    Case("liet, eps 16", "liet", "main.py configs/configs.yaml", partial(liet, "cifar10-eps16")),
    Case("fgsm-mep", "fgsm-pgi", "FGSM_MEP.py", fgsm_mep),
    Case("tdat", "tdat", "TDAT.py", tdat),
    Case("nuat", "nuat", "CIFAR10/NuAT_WA_cifar10.py", nuat, "BatchNorm's statistics held"),
    Case("elle-a", "elle", "core/utils/train.py", elle_a, "they step the optimizer twice, ours once at twice the rate"),
    Case("sora", "sora", "src/training/train.py", sora),
    Case("fgsm-uap", "fgsm-uap", "fat/fgsm_one_uap.py", partial(fgsm_uap, "FGSM_One_UAP", "all")),
    Case("fgsm-uap, class", "fgsm-uap", "fat/fgsm_class_uap.py", partial(fgsm_uap, "FGSM_Class_UAP", "class")),
    Case(NET, "fast-bat", "model_zoo.py", partial(logits, "model_zoo")),
    Case(NET, WONG, "CIFAR10/preact_resnet.py", partial(logits, "preact_resnet")),
    Case(NET, "understanding", "models.py", partial(logits, "models", last=False, n_cls=10, cuda=False), NO_LAST),
    Case(NET, "yopo", f"{YOPO}network.py", partial(logits, "network", last=False, shortcut="preact"), NO_LAST),
    Case(NET, "backsmooth", "models/preact_resnet.py", partial(logits, "models.preact_resnet")),
    Case(NET, "n-fgsm", "architectures/preact_resnet.py", partial(logits, "architectures.preact_resnet")),
    Case(WRN, "fast-bat", "model_zoo.py", wide_logits),
)


def main() -> None:
    """Compare what there is a checkout of, and print the table."""
    args = arguments()
    roots = {name: root.resolve() for name in CHECKOUTS if (root := vars(args)[name.replace("-", "_")])}
    torch.set_default_dtype(torch.float64)
    sys.dont_write_bytecode = True  # in the checkouts
    sys.modules |= MISSING
    sets = {"away": away(), **({"real": real(args.data_dir)} if args.data_dir else {})}
    absent = [f"{CHECKOUTS[name][0]} (--{name})" for name in CHECKOUTS if name not in roots]
    for what in absent + ["real crops (--data-dir)"] * (not args.data_dir):
        print(f"not given, skipped: {what}")
    rows = [row(case, roots[case.checkout], sets) for case in CASES if case.checkout in roots]
    show(rows)
    if args.json:
        args.json.write_text(json.dumps({**machine(), "limit": LIMIT, "rows": rows}, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Return the command line, its paths looked at."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (repository, _) in CHECKOUTS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"a checkout of {repository}")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="CIFAR-10's parquet files, for the real crops")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, with the SHA-256 of the authors' files")
    args = parser.parse_args()
    for case in CASES:
        root = vars(args)[case.checkout.replace("-", "_")]
        for file in case.files.split():
            if root and not (root / file).is_file():
                stop(f"--{case.checkout} {root}: no {file} there; give a checkout of {CHECKOUTS[case.checkout][0]}")
    if args.json and not args.json.resolve().parent.is_dir():
        stop(f"--json {args.json}: no folder {args.json.parent}; make it first")
    return args


def stop(why: str) -> NoReturn:
    """End with one line and status 2."""
    print(why, file=sys.stderr)
    sys.exit(2)


def away() -> Images:
    """Return images away from 0 and 1."""
    rng = generator("away")
    x, y = torch.from_numpy(0.2 + 0.6 * rng.random((SIZE, 3, 32, 32))), torch.from_numpy(rng.integers(0, 10, SIZE))
    return Images(x, y, x)


def real(folder: Path) -> Images:
    """Return crops of CIFAR-10."""
    try:
        train = load("cifar10", folder).train.slice(0, 1000)
    except InputError as error:
        stop(f"--data-dir: {error}")
    most = (train.pixels == 255).sum((1, 2, 3)).topk(SIZE).indices
    whole = train.pixels[most] / 255.0
    return Images(View.draw(generator("real"), SIZE, pad=4, flip=True).apply(whole), train.labels[most], whole)


def row(case: Case, root: Path, sets: dict[str, Images]) -> dict[str, Any]:
    """Return what a comparison found, on each set of images."""
    found: dict[str, Any] = {"name": case.name, "checkout": case.checkout, "file": case.files.split()[0]}
    if (case.name == WRN and WRN not in MODELS) or (case.name == NET and "shortcut" not in MODELS[NET].settings):
        return found | {"remark": "skipped: this fastbat does not have it"}
    print(f"{case.name}, {CHECKOUTS[case.checkout][0]} ...", file=sys.stderr)
    remarks, hashes = [case.remark], {file: sha256(root / file) for file in case.files.split()}
    for name, images in sets.items():
        with authors(root, CHECKOUTS[case.checkout][1]) as ran:
            result = case.run(images)
        hashes |= ran
        found[name] = result if isinstance(result, float) else off(*moved(result))
    if isinstance(result, Networks):
        remarks.append(passes(result))
    if max(found[name] for name in sets) > LIMIT:
        remarks.append(case.known if case.known and found["away"] <= LIMIT else "differs, not known why")
    return found | {"remark": "; ".join(filter(None, remarks)), "sha256": hashes}


def moved(sides: Networks) -> tuple[Tensor, Tensor]:
    """Return the change of the weights, flat, by the authors' update and by ours."""
    before, theirs, ours = (parameters_to_vector(network.parameters()).detach() for network in sides)
    return theirs - before, ours - before


def off(theirs: Tensor, ours: Tensor) -> float:
    """Return |theirs - ours| / |theirs|."""
    return ((theirs - ours).norm() / theirs.norm()).item()


def passes(sides: Networks) -> str:
    """Return in words how many passes in train mode the first BatchNorm saw, where the two sides differ."""
    norms = [next(part for part in network.modules() if isinstance(part, nn.BatchNorm2d)) for network in sides]
    before, theirs, ours = (int(norm.num_batches_tracked) for norm in norms)
    return "" if theirs == ours else f"BatchNorm sees {theirs - before} passes, ours {ours - before}"


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table("method or network", "authors' file", "away from 0 and 1", "real crops", "remark")
    for found in rows:
        figures = (f"{found[name]:.1e}" if name in found else "" for name in ("away", "real"))
        table.add_row(found["name"], f"{found['checkout']}: {Path(found['file']).name}", *figures, found["remark"])
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
