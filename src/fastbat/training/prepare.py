"""Before the first step: the network, in the precision and layout that suit it, its average and its optimizer.

All of it is tried on a few images, and nothing is written.
"""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import SGD

from fastbat.data import Batch, load
from fastbat.errors import InputError
from fastbat.methods import Method
from fastbat.models import MODELS, build_model, load_weights
from fastbat.randomness import seed_torch
from fastbat.runtime.layout import pick_layout
from fastbat.runtime.precision import has_bf16, in_precision, pick_precision
from fastbat.runtime.processes import first_of_machine, on_first, rank, share_tensors, together, world
from fastbat.training.average import start_average
from fastbat.training.bf16 import Products
from fastbat.training.capture import Captured
from fastbat.training.compile import Compiled
from fastbat.training.dry_run import check_trainable, dry_run, first_images, on_device_of
from fastbat.training.settings import Settings, describe, under
from fastbat.training.state import NONE, State
from fastbat.training.task import Task

SOURCE = ("image_column", "label_column", "image_size", "channels", "validation", "pad", "flip", "rotation", "workers")


def prepare(
    given: Method, settings: Settings, *, start: Path | None = None, precision: str = "auto"
) -> tuple[Task, State, str]:
    """Return what is trained on what, the state before its first step, and in words how its steps run.

    The network starts from the weights in `start`, if there are any. With the setting "auto" the precision is
    `precision`, the one that the run had before, or else the device's. Raises InputError where images or network are
    not to be had, or the method cannot train this network on these images.
    """
    with together():
        settings.check(given)
        check_processes(settings)
        resolved = settings.resolved(given)
    if resolved.precision == "auto":
        resolved = replace(resolved, precision=precision)  # type: ignore[arg-type]
    source = {name: getattr(resolved, name) for name in SOURCE}
    splits = first_of_machine(lambda: load(resolved.dataset, resolved.data_dir, **source))
    with together():
        task = Task.of(under(settings.protocol, given), resolved, splits)
    task, state, line = build(task, start)
    return replace(task, config=describe(given, settings, task.settings)), state, line


def build(task: Task, start: Path | None = None) -> tuple[Task, State, str]:
    """Return the task in its precision, the state before its first step, and in words how its steps run."""
    with together():
        few = first_images(task.loader, task.settings.accumulate)
        model = new_model(task, few, start if rank() == 0 else None)
    precision, line = on_first(lambda: choose_precision(task, model, few))
    on_first(lambda: check_single_images(task, model, few))
    model.to(memory_format=layout_of(task, model, precision))
    share_tensors([*model.parameters(), *model.buffers()])
    resolved = replace(task.settings, precision=precision)  # type: ignore[arg-type]
    task = replace(task, settings=resolved)
    models = {"model": model} | ({} if resolved.ema is None else {"ema": start_average(model)})
    with together():
        compiled = Compiled(model) if resolved.compile else None
        captured = captured_on(task.device) if resolved.capture else None
    net, nothing_yet = in_precision(compiled or model, precision), dict.fromkeys(models, NONE)
    if captured:
        model.train()
        captured_on(task.device).capture(task.method, net, few)  # what cannot be captured is refused before all else
    return task, State(task.method, models, net, compiled, captured, optimizer(task, model), best=nothing_yet), line


def captured_on(device: torch.device) -> Captured:
    """Return what captures updates there; InputError where nothing can."""
    if device.type != "cuda":
        raise InputError(f"capture is on, but the device is {device.type}: a CUDA graph needs a GPU; leave it out")
    if world() > 1:
        raise InputError(f"capture is on, for {world()} processes; a CUDA graph has the noise of one: leave it out")
    return Captured()


def new_model(task: Task, few: Batch, start: Path | None) -> nn.Module:
    """Return the network that is trained, where a `few` of its images are, with the weights in `start` if given."""
    seed_torch(task.settings.seed, "weights")
    built = build_model(**task.network)
    check_trainable(built)
    model = on_device_of(few.x, built)
    if start is not None:
        load_weights(model, start, new_head=True)
    return model


def check_processes(settings: Settings) -> None:
    """Raise InputError where several processes would be on one device by name, or without images."""
    count = world()
    if count > 1 and ":" in settings.device:
        raise InputError(
            f"device is {settings.device!r}, but each of {count} processes takes its own; give cuda, or leave it out"
        )
    if count > 1 and settings.batch_size < 2 * count:
        raise InputError(
            f"batch_size is {settings.batch_size}, for {count} processes; give each two images, {2 * count} together"
        )


def check_single_images(task: Task, model: nn.Module, few: Batch) -> None:
    """Raise InputError where a process would have a single image of a part of a batch, and BatchNorm refuses one.

    Only where a method remembers places or images: else nobody has a single one.
    """
    loader, parts = task.loader, task.settings.accumulate
    if loader.shares.processes == 1 or loader.shares.by == "any":
        return
    try:
        deepcopy(model).train()(few.x[:1])
    except ValueError as error:
        for number in range(task.epochs):
            single = (i for i, index in enumerate(loader.parts(number)) if loader.shares.of(index).has_single(parts))
            if (i := next(single, None)) is not None:
                raise InputError(
                    f"a process would have a single image of batch {i + 1} in epoch {number + 1} ({error}); "
                    "take another batch_size, or number of processes"
                ) from error


def choose_precision(task: Task, model: nn.Module, few: Batch) -> tuple[str, str]:
    """Return the precision, and in words how steps run in it; put `model` into the layout that suits both.

    With "auto" it is float32 if bf16 is wrong here. Raises InputError if the network cannot be trained, or not in the
    precision that was asked for.
    """
    asked, name = task.settings.precision, type(task.method).__name__
    precision, in_bf16 = pick_precision(task.device) if asked == "auto" else asked, None
    fault = try_update(task, model, few, precision)
    if fault and asked == "auto" and precision == "bf16":
        precision, in_bf16 = "float32", fault
        fault = try_update(task, model, few, precision)
    if fault:
        remedy = f"check the settings of {name} and the model"
        remedy = "train with --precision float32" if precision == "bf16" else remedy
        raise InputError(f"{name} cannot train this model in {precision}: {fault}; {remedy}")
    return precision, how_steps_run(task, layout_of(task, model, precision), precision, in_bf16)


def try_update(task: Task, model: nn.Module, few: Batch, precision: str) -> str | None:
    """Put `model` into the layout for `precision`, and try it on copies; return in words what is wrong, if anything."""
    model.to(memory_format=layout_of(task, model, precision))
    copy = deepcopy(model)
    with Products() as products:
        fault = dry_run(in_precision(copy, precision), copy, task.method, few, task.classes)
    if task.settings.compile and task.settings.model not in MODELS:
        dry_run(in_precision(Compiled(copy), precision), copy, task.method, few, task.classes)
    return products.fault or fault


def layout_of(task: Task, model: nn.Module, precision: str) -> torch.memory_format:
    """Return the layout of the weights in `precision`."""
    ours, twice = task.settings.model in MODELS, task.method.traits.differentiates_twice
    return pick_layout(model, ours=ours, twice=twice, precision=precision, device=task.device)


def how_steps_run(task: Task, layout: torch.memory_format, precision: str, in_bf16: str | None) -> str:
    """Return in words how steps run, and why; `in_bf16` is what is wrong in bf16."""
    can = "which multiplies in bf16" if has_bf16(task.device) else "which only emulates bf16, and slowly"
    why = f"for in bf16 {in_bf16}" if in_bf16 else can
    usual = "the usual layout" + (
        ": the method differentiates twice" if task.method.traits.differentiates_twice else ""
    )
    shown = "channels-last, where convolutions are faster" if layout is torch.channels_last else usual
    return f"training in {precision} on {task.device}, {why}; {shown}"


def optimizer(task: Task, model: nn.Module) -> SGD:
    """Return SGD on the weights of `model`; its learning rate is set at every step."""
    settings = task.settings
    fused = True if settings.model in MODELS else None  # it has no room for a weight whose first gradient comes later
    how = {"momentum": settings.momentum, "weight_decay": settings.weight_decay, "fused": fused}
    return SGD(decayed(model, settings.decay_batchnorm is not False), 0.0, **how)  # type: ignore[arg-type]


def decayed(model: nn.Module, batchnorm: bool) -> list[dict[str, Any]]:
    """Return the optimizer's groups of weights; without `batchnorm` BatchNorm's weights are one without decay."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not batchnorm]
    free = [weight for layer in norms for weight in layer.parameters()]
    rest = [weight for weight in model.parameters() if not any(weight is other for other in free)]
    return [{"params": rest}, *([{"params": free, "weight_decay": 0.0}] if free else [])]
