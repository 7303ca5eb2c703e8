"""What a training run is made of, beside its method."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from fastbat.data import check_source, dataset_card
from fastbat.errors import InputError, check_choices
from fastbat.files import as_path
from fastbat.methods import METHODS, Method
from fastbat.models import SHAPE, resolve_model
from fastbat.plain import plain
from fastbat.runtime.device import check_device
from fastbat.training.fit import check_pace
from fastbat.training.horizon import decay_of
from fastbat.training.interval import Interval
from fastbat.training.loggers import check_logger
from fastbat.training.protocol import PROTOCOLS

METHOD, EPS = "fast-bat", 8.0  # unless given; eps on the 0-255 scale
FROM_0 = ("pad", "workers", "ga_images", "seed", "select_limit")  # whole numbers
FROM_1 = ("image_size", "train_limit", "epochs", "batch_size", "accumulate",
          "escalate_updates", "select_steps", "select_restarts")  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Settings of a run; the same names are flags of `fastbat train` and keys of its TOML file.

    They keep what was given; `resolved(method)` returns them with what follows from data set, network and method.
    A dry run resolves a precision of auto.
    """

    protocol: Literal["paper", "released"] = "paper"
    """What fills in the settings that paper and released code have differently (docs/reference/protocol.md)."""
    dataset: str = "digits"
    """Data set by name (`fastbat list datasets`), or OWNER/NAME of the Hugging Face hub."""
    data_dir: Path | None = None
    """Folder with its image folders or parquet files; without it a data set of the hub is downloaded."""
    image_column: str | None = None
    """Column of a table that holds the images; the first with images unless given."""
    label_column: str | None = None
    """Column of a table that holds the labels; label, labels or fine_label unless given."""
    image_size: int | None = None
    """Resize the shorter side to N pixels and cut out the middle; needed where images differ in size."""
    channels: Literal[1, 3] | None = None
    """3: RGB, unless given; 1: grey. For folders of images and tables; the mean and std follow."""
    pad: int | None = None
    """Random crops after padding by N pixels; the data set's own unless given (CIFAR: 4, digits: 0)."""
    flip: bool | None = None
    """Random horizontal flips; the data set's own unless given (--flip=false: none)."""
    rotation: float | None = None
    """Random rotations by up to N degrees; the data set's own unless given (CIFAR-100: 15)."""
    workers: int = 4
    """Processes that decode the images of a streamed data set; their number changes no image."""
    train_limit: int | None = None
    """Train on the first N images of the training split."""
    validation: Literal["train", "test"] | None = None
    """Images that choose the best epoch: a tenth of the training split (unless given), or half of the test split."""
    model: str | None = None
    """Network by name (`fastbat list models`); the data set's own unless given. MODULE:FUNCTION runs that code."""
    width: int | None = None
    """Channels of the first layer; the network's own unless given (PreActResNet: 64, WideResNet: 16)."""
    activation: str | None = None
    """relu (unless given), softplus (beta 10) or swish."""
    stem: int | None = None
    """Kernel of the first convolution: 3, 7 or 15, with stride 1, 2 or 3; 3 unless given (not for other networks)."""
    dropout: float | None = None
    """Dropout in the blocks of a WideResNet; the network's own unless given (0; the released WRN-16-8: 0.1)."""
    shortcut: Literal["raw", "preact"] | None = None
    """Where a block of PreActResNet-18 or -34 changes the shape: of its input (raw, the released codes), or He's."""
    init_from: Path | None = None
    """Start from these weights: a run directory, a .safetensors file, or a .pt or .pth state_dict."""
    epochs: int | None = None
    """Passes over the training images; 20 unless given (FREE-AT: 10, each of 8 replays; ImageNet: 15)."""
    batch_size: int = 128
    """Images a step, on all processes together; on imagenet in the last of its phases."""
    max_lr: float | None = None
    """Peak of the triangular learning rate; the data set's own unless given (CIFAR-10: 0.2), scaled by some methods."""
    final_lr: float = 0.0
    """Learning rate at the end, as a share of its peak."""
    momentum: float = 0.9
    """Momentum of SGD."""
    momentum_at_peak: float | None = None
    """Momentum at the peak learning rate, cycled against it; constant unless given (protocol released: 0.8)."""
    weight_decay: float | None = None
    """Weight decay of SGD; the data set's own unless given (5e-4; ImageNet: 1e-4)."""
    decay_batchnorm: bool | None = None
    """Weight decay on BatchNorm's weights, too; the data set's own unless given (yes; ImageNet: no)."""
    label_smoothing: float = 0.0
    """Share of each label spread over all classes, in the training loss alone."""
    label_weights: Literal["equal", "random"] = "equal"
    """How label_smoothing is spread: equally over all classes, or at random over the others, drawn in each update."""
    ema: float | str | None = None
    """Moving average of the weights, saved next to them: its decay (0.9995) or its horizon, a share of the run (5%)."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """bf16: the model's forward pass under autocast, all else float32. auto: if the device multiplies in it rightly."""
    accumulate: int = 1
    """Run each batch in N parts, one after another, where it does not fit into memory whole."""
    compile: bool = False
    """Compile the network (torch.compile) in the first step; not for a method that differentiates twice, or YOPO."""
    capture: bool = False
    """Capture each update's passes in a CUDA graph; not for a method with a memory. Not tried on a GPU yet."""
    select_steps: int | None = None
    """Steps, of eps / 4, of the PGD that chooses the best epoch; 10 unless given (protocol released: 50)."""
    select_restarts: int | None = None
    """Random starts of that PGD; 1 unless given (protocol released: 10)."""
    select_limit: int | None = None
    """Validation images that it attacks: the first N, 0 for all; 1,000 unless given (protocol released: all)."""
    select_on: Literal["ce", "margin"] = "ce"
    """What that PGD climbs: cross-entropy, or the margin, which smoothed labels flatter less."""
    on_collapse: Literal["warn", "stop", "rollback"] = "warn"
    """After catastrophic overfitting: warn, stop, or return to the last sound epoch and continue with PGD-AT."""
    on_alarm: Literal["ignore", "warn", "stop", "rollback", "escalate"] = "ignore"
    """When the two input gradients of an update cease to align: the same, or two steps for a while (escalate)."""
    escalate_updates: int = 200
    """Updates of two steps after an alarm, with --on-alarm escalate."""
    ga_images: int = 0
    """Measure gradient alignment (Figure 2) on the first N test images every epoch."""
    checkpoint_every: int | str = "10min"
    """Write what a stopped run resumes from every N updates (500) or minutes (10min), and after every epoch."""
    log: Literal["none", "tensorboard"] = "none"
    """Write the metrics of each epoch for TensorBoard too, into RUN/tensorboard."""
    seed: int = 0
    """Of everything random: weights, order, augmentation, noise."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""

    def __post_init__(self) -> None:
        for name in ("data_dir", "init_from"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, as_path(name, given))  # text, in Python and in TOML
        dataset_card(self.dataset)
        Interval.of(self.checkpoint_every)
        for least, names in enumerate((FROM_0, FROM_1)):
            for name in names:
                if (value := getattr(self, name)) is not None and value < least:
                    raise InputError(f"{name} is {value}; it must be at least {least}")
        if self.max_lr is not None and not 0 < self.max_lr <= 1e6:
            raise InputError(f"max_lr is {self.max_lr:g}; it must be above 0 and at most a million")
        for name in ("momentum", "momentum_at_peak", "label_smoothing", "final_lr"):
            if (value := getattr(self, name)) is not None and not 0 <= value < 1:
                raise InputError(f"{name} is {value:g}; it must lie in [0, 1)")
        if self.momentum_at_peak is not None and self.momentum_at_peak > self.momentum:
            raise InputError(
                f"momentum_at_peak is {self.momentum_at_peak:g}; it must not lie above momentum, {self.momentum:g}"
            )
        if self.ema is not None:
            decay_of(self.ema)
        for name in ("weight_decay", "rotation"):
            if (value := getattr(self, name)) is not None and not 0 <= value < math.inf:
                raise InputError(f"{name} is {value:g}; it must be 0 or above")
        check_choices(self)

    @property
    def eval_batch_size(self) -> int:
        """Images judged at a time: a batch's, or those of its part where it does not fit whole."""
        return max(self.batch_size, 250) if self.accumulate == 1 else max(2, -(-self.batch_size // self.accumulate))

    def check(self, method: Method) -> None:
        """Raise InputError where these settings do not suit the method, the device or the data set."""
        check_pace(method, self.accumulate, self.compile, self.capture)
        if self.on_alarm != "ignore" and method.traits.replays > 1:
            raise InputError(
                f"on_alarm is {self.on_alarm}, but {type(method).__name__} has one input gradient an update, and the "
                "alarm compares two; leave it out"
            )
        if self.on_alarm != "ignore" and self.capture:
            raise InputError(
                f"on_alarm is {self.on_alarm}, and capture is on; the alarm does not hear passes that are replayed "
                "from a graph: leave one out"
            )
        if self.final_lr and dataset_card(self.dataset).rates:
            raise InputError(f"final_lr is {self.final_lr:g}, but {self.dataset} has a learning rate of its own")
        check_logger(self.log)
        check_device(self.device)
        how = ("image_column", "label_column", "image_size", "channels", "pad", "rotation")
        check_source(self.dataset, self.data_dir, **{name: getattr(self, name) for name in how})

    def resolved(self, method: Method) -> "Settings":
        """Return these settings with all but the precision filled in, which depends on the device, as plain numbers.

        Raises InputError where the network does not take one.
        """
        protocol, card, traits = PROTOCOLS[self.protocol], dataset_card(self.dataset), method.traits
        model = self.model or card.model
        low = protocol.momentum_at_peak
        follows = {
            "model": model,
            **resolve_model(model, **{name: getattr(self, name) for name in SHAPE}),
            "momentum_at_peak": None if low is None else min(low, self.momentum),
            "select_steps": protocol.select_steps,
            "select_restarts": protocol.select_restarts,
            "select_limit": protocol.select_limit,
            "validation": protocol.validation.get(self.dataset),
            "weight_decay": card.weight_decay,
            "decay_batchnorm": card.decay_batchnorm,
            "max_lr": card.max_lr * traits.lr_scale,
            "epochs": traits.epochs or card.epochs,
        }
        given = {field.name: plain(getattr(self, field.name)) for field in fields(self)}
        open_ones = {*SHAPE, *(name for name, value in given.items() if value is None)}
        return Settings(**given | {name: follows.get(name) for name in open_ones})


def method_settings(name: str) -> set[str]:
    """Return the names of a method's own settings."""
    return {f.name for f in fields(METHODS[name]) if f.init}  # type: ignore[arg-type]


def make_method(name: str, own: Mapping[str, Any]) -> Method:
    """Return the method `name` with its `own` settings, eps on the 0-255 scale."""
    return METHODS[name](**{**own, "eps": own.get("eps", EPS) / 255})


def under(protocol: str, method: Method) -> Method:
    """Return `method` with those of its settings that are left open, and that the protocols have differently, set."""
    open_ones = [f.name for f in fields(method) if "by_protocol" in f.metadata and getattr(method, f.name) is None]  # type: ignore[arg-type]
    return replace(method, **dict.fromkeys(open_ones, protocol))  # type: ignore[type-var]


def describe(method: Method, settings: Settings, resolved: Settings | None = None) -> dict[str, Any]:
    """Return method and settings as the table of config.toml: what was given, and [resolved], what follows from it.

    eps is on the 0-255 scale, paths are text, None is left out. `resolved` are the settings of the run, with the
    precision that its device took.
    """
    names = {cls: name for name, cls in METHODS.items()}
    given = {"method": names.get(type(method), type(method).__qualname__), **table(method), **table(settings)}
    follows = under(settings.protocol, method).resolved | table(resolved or settings.resolved(method))
    new = {name: plain(value) for name, value in follows.items() if given.get(name) != value}
    return {**given, "eps": round(float(method.eps) * 255, 9), "resolved": new}


def table(settings: Any) -> dict[str, Any]:
    """Return a dataclass of settings as a flat table, paths as text, without None."""
    found = {f.name: plain(getattr(settings, f.name)) for f in fields(settings) if f.init}
    for name in {"data_dir", "init_from"} & found.keys():
        found[name] = found[name] and str(Path(found[name]).resolve())
    return {name: value for name, value in found.items() if value is not None}


def effective(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of config.toml as one flat table: what a run has, given or resolved."""
    return {**{name: value for name, value in config.items() if name != "resolved"}, **config.get("resolved", {})}
