"""The trainer: SGD on the losses a method yields, the best epoch by robust validation accuracy, a run on disk.

    for loss in method.losses(model, batch): loss.backward()
    optimizer.step(); optimizer.zero_grad()

Everything random in a step belongs to (seed, step), so a run that is stopped and resumed gives the weights of one that
never stopped, bit for bit on one CPU with the same number of threads.
"""

import math
import time
from copy import deepcopy
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from fastbat.data import Batch, Loader, Splits, check_not_blank, load
from fastbat.errors import DivergedError, InputError
from fastbat.evaluation import gradient_alignment
from fastbat.files import append_record, locked, read_records, write_records
from fastbat.methods import Method, beyond_published
from fastbat.models import MODELS, SHAPE, build_model, load_weights, save_model
from fastbat.models.finite import finite, not_finite
from fastbat.precision import Autocast, ieee_float32
from fastbat.progress import bar, say
from fastbat.randomness import seed_torch
from fastbat.training.average import Average
from fastbat.training.bf16 import Products
from fastbat.training.collapse import has_collapsed, pgd_at, remedy
from fastbat.training.divergence import cause
from fastbat.training.dry_run import dry_run, first_images, on_device_of
from fastbat.training.gradients import Sums, add, gradients, means
from fastbat.training.machine import peak_memory_mib, pick_device, synchronize
from fastbat.training.pace import Compiled, pace, pick_layout, pick_precision
from fastbat.training.run import Run
from fastbat.training.schedule import piecewise, triangular
from fastbat.training.selection import Candidate, judge, naming_one_class
from fastbat.training.settings import Settings, describe
from fastbat.training.state import read_state, restore, save_state


@ieee_float32()
def train(method: Method, settings: Settings, out: Path | str, *, resume: bool = False) -> Run:
    """Train with `method` and return the run directory `out`; with `resume` go on after its last finished epoch.

    Raises InputError before anything is written where `out` holds another run, `resume` comes with other settings,
    or the data are not to be had; DivergedError where the loss or a weight is no longer a number. Seeds torch's
    global generators.
    """
    run = Run(out)
    settings.check(method)
    settings = settings.filled(method)
    check = run.check_same if resume else run.check_free
    check(describe(method, settings))
    if resume and settings.precision == "auto":
        settings = replace(settings, precision=run.read_config().get("precision", "auto"))
    trainer = prepare(method, settings, run)
    config = describe(method, trainer.settings)  # with the precision that a dry run chose
    with locked(run.path, "training"):
        check(config)  # again: another process may have been here while the data were read
        run.write_config(config)
        say(trainer.pace)
        for name, heavy in beyond_published(method).items():
            say(f"{heavy}; set it with --{name.replace('_', '-')}")
        trainer.train()
    return run


def prepare(method: Method, settings: Settings, run: Run) -> "Trainer":
    """Return a trainer with model and data for `run`, where nothing is written yet; it chooses a precision of auto."""
    how = ("image_column", "label_column", "image_size", "channels", "validation", "pad", "flip", "rotation", "workers")
    device = pick_device(settings.device)
    splits = load(settings.dataset, settings.data_dir, **{name: getattr(settings, name) for name in how})
    check_not_blank(splits.train, f"training images of {settings.dataset}")
    if settings.train_limit is not None:
        splits = replace(splits, train=splits.train.slice(0, settings.train_limit))
    method = replace(method)  # type: ignore[type-var]  # a new one, for the memory of another run is not this run's
    return Trainer(run, method, settings, splits, device)


class Trainer:
    """One run in progress: the model, its optimizer, and how far they have come."""

    def __init__(self, run: Run, method: Method, settings: Settings, splits: Splits, device: torch.device) -> None:
        assert settings.max_lr is not None  # resolved
        assert settings.epochs is not None
        self.run, self.settings, self.device, self.card = run, settings, device, splits.card
        augmentation = (self.card.pad or 0, self.card.flip, self.card.rotation, self.card.phases)
        self.given = self.method = method  # as configured, and the one in charge
        self.max_lr, self.epochs, self.epoch = settings.max_lr, settings.epochs, 0
        self.highest_ra = -1.0  # on validation images, of all epochs kept; with init_from of the weights before them
        self.discarded: list[dict[str, Any]] = []  # the records of the next epoch that were taken back
        self.stopped = False
        self.loader = Loader(
            splits.train.to(device), settings.batch_size, settings.seed, *augmentation, settings.epochs
        )
        for need, reason in getattr(method, "needs", {}).items():
            if need not in self.loader.keeps:
                raise InputError(reason)
        self.validation = splits.validation.slice(0, settings.select_limit or None).to(device).tensors()
        self.tests = len(splits.test)
        self.ga_images = splits.test.slice(0, settings.ga_images).to(device).tensors()
        train = splits.train
        self.dataset = {"name": settings.dataset, "fingerprint": train.fingerprint, "classes": train.classes}
        if settings.validation == "test":
            self.dataset["validation"] = "test"
        shape = {name: getattr(settings, name) for name in SHAPE}
        norm = {"mean": self.card.mean, "std": self.card.std}
        self.model_args: dict[str, Any] = {"name": settings.model, "num_classes": len(train.classes), **shape, **norm}
        self.build()

    def build(self) -> None:
        """Make the network, its average, what its passes run and its optimizer; try them before anything is written."""
        settings, name = self.settings, self.model_args["name"]
        few = first_images(self.loader, settings.accumulate)
        seed_torch(settings.seed, "weights")
        self.model = on_device_of(few.x, build_model(**self.model_args))
        if settings.init_from is not None and not self.run.state.exists():
            load_weights(self.model, Path(settings.init_from), new_head=True)
        self.choose_precision(few)
        self.average = None if settings.ema is None else Average(self.model, settings.ema)
        self.candidates = {"model": Candidate(self.model, self.runs(self.model))}
        if self.average:
            ema = self.average.model
            self.candidates["ema"] = Candidate(ema, self.runs(ema), "-ema", "val_ema")
        self.compiled = Compiled(self.model) if settings.compile else None
        self.net = self.runs(self.compiled or self.model)  # what the method's passes run
        fused = True if name in MODELS else None  # it has no room for a weight that gets its first gradient later
        how = {"momentum": settings.momentum, "weight_decay": settings.weight_decay, "fused": fused}
        groups = decayed(self.model, settings.decay_batchnorm is not False)
        self.optimizer = SGD(groups, 0.0, **how)  # type: ignore[arg-type]

    def choose_precision(self, few: Batch) -> None:
        """Set precision and layout by a dry run on a few images; where bf16 is wrong, auto is float32.

        Raises InputError if the network cannot be trained, or not in the precision that was asked for.
        """
        asked = self.settings.precision
        fault = self.dry_run(pick_precision(self.device) if asked == "auto" else asked, few)
        if fault and asked == "auto" and self.settings.precision == "bf16":
            fault = self.dry_run("float32", few, in_bf16=fault)
        if fault:
            name, precision = type(self.method).__name__, self.settings.precision
            fix = f"check the settings of {name} and the model"
            fix = "train with --precision float32" if precision == "bf16" else fix
            raise InputError(f"{name} cannot train this model in {precision}: {fault}; {fix}")

    def dry_run(self, precision: str, few: Batch, in_bf16: str | None = None) -> str | None:
        """Set `precision`, and try it on copies of the network; return in words what is wrong, None if nothing is."""
        self.settings, name = replace(self.settings, precision=precision), self.model_args["name"]  # type: ignore[arg-type]
        layout = pick_layout(self.method, name, self.model, precision, self.device)
        self.model = self.model.to(memory_format=layout)
        self.pace = pace(self.method, layout, precision, self.device, in_bf16)
        copy, classes = deepcopy(self.model), self.model_args["num_classes"]
        with Products() as products:
            fault = dry_run(self.runs(copy), copy, self.method, few, classes)
        if self.settings.compile and name not in MODELS:
            dry_run(self.runs(Compiled(copy)), copy, self.method, few, classes)
        return products.fault or fault

    def runs(self, model: nn.Module) -> nn.Module:
        """Return `model` in the precision of the training."""
        return Autocast(model) if self.settings.precision == "bf16" else model

    def train(self) -> None:
        """Train the epochs that are left; after each, the run on disk is complete."""
        if self.run.state.exists():
            self.restore()
        else:
            if self.settings.init_from is not None and self.method.eps:
                self.highest_ra = self.select()["val_ra"]
            self.save_state()
        records = [each for each in read_records(self.run.metrics) if each["epoch"] <= self.epoch]
        write_records(self.run.metrics, records)
        self.stopped = self.settings.on_collapse == "stop" and any(record.get("collapsed") for record in records)
        while self.epoch < self.epochs and not self.stopped:
            record = self.train_epoch() | self.select()
            if record.get("collapsed") and self.roll_back(record):
                continue
            self.epoch += 1
            self.save(record)
            say(epoch_line(record, self.epochs))
        best, guess = max(each.best[0] for each in self.candidates.values()), naming_one_class(self.validation[1])
        if self.method.eps and best <= guess:
            says = f"RA {best:.1f} % at best on validation images, where always naming one class has {guess:.1f} %"
            say(f"no epoch is robust: {says}")

    @property
    def replays(self) -> int:
        """How often each batch is presented."""
        return getattr(self.method, "replays", 1)

    def train_epoch(self) -> dict[str, Any]:
        """Run the method over every training image once; return the epoch's training record."""
        start = time.perf_counter()
        sums: Sums = {}
        losses: dict[int, Tensor] = {}  # by number of the update in the epoch
        name = f"epoch {self.epoch + 1} of {self.epochs}"
        first, end = self.loader.steps(self.epoch), self.loader.steps(self.epoch + 1)
        if self.compiled:
            self.compiled.size = 0  # that of this epoch's first part
        with bar(name) as show:
            for i, batch in enumerate(self.loader.epoch(self.epoch)):
                show(i / (end - first), name)
                for replay in range(self.replays):
                    number = i * self.replays + replay
                    for k, v in self.update(batch, first * self.replays + number).items():
                        add(sums, k, v, len(batch.y))
                        if k == "loss":
                            losses[number] = v
        synchronize(self.device)
        seconds = time.perf_counter() - start
        found = {name: value.item() for name, value in means(sums).items()}
        sound = all(finite(weight) for weight in self.model.parameters())
        if losses and not (sound and math.isfinite(found["loss"])):
            what = f"loss {found['loss']:g}, weights {'finite' if sound else 'not finite'}"
            values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
            why = cause(self.method, self.settings, values, first, self.fault_of)
            raise DivergedError(f"training diverged in epoch {self.epoch + 1}: {what}; {why}")
        speed = {"seconds": seconds, "images_per_second": len(self.loader.images) / seconds}
        if skipped := (end - first) * self.replays - len(losses):  # the method yielded nothing
            found["skipped"] = skipped
        return {"epoch": self.epoch + 1, **found, "lr": self.optimizer.param_groups[0]["lr"], **speed}

    def fault_of(self, update: int) -> str | None:
        """Go back to the weights that this epoch began with; return what is not finite on the images of `update`."""
        self.restore()
        batch = next(islice(self.loader.epoch(self.epoch), update // self.replays, None))
        return not_finite(self.model.eval(), batch.x)

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Make one update of the weights; return the mean loss and what the method measured, still on the device.

        A batch for which the method yields no loss makes no update, and nothing is returned.
        """
        settings = self.settings
        seed_torch(settings.seed, "step", step)
        self.schedule(step)
        self.model.train()
        if settings.label_smoothing:
            batch = replace(batch, label_smoothing=settings.label_smoothing)
        found = gradients(self.method, self.net, batch, settings.accumulate)
        if not found:  # the method skips this batch
            return found
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.model, step)
        return found

    def schedule(self, step: int) -> None:
        """Set learning rate and momentum of update `step`."""
        momentum, low = self.settings.momentum, self.settings.momentum_at_peak
        knots = [(self.loader.steps(round(when * self.epochs)) * self.replays, rate) for when, rate in self.card.rates]
        height = piecewise(step, knots) if knots else triangular(step, self.loader.steps(self.epochs) * self.replays)
        ours = 1 if self.method is self.given else getattr(self.given, "budget", {}).get("lr_scale", 1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.max_lr / ours * height  # a remedy is given the rate that is its own
            group["momentum"] = momentum if low is None else momentum + (low - momentum) * height

    def select(self) -> dict[str, Any]:
        """Return what the validation images say of each model: val_sa, val_ra, ..., of the average val_ema_sa, ..."""
        start, (x, y), eps = time.perf_counter(), self.validation, self.method.eps
        record: dict[str, Any] = {"val_n": len(y)}
        for candidate in self.candidates.values():
            found = judge(candidate.net, x, y, eps, self.settings)
            record |= {f"{candidate.prefix}_{name}": value for name, value in found.items()}
        if eps:
            one_step, ra = record["val_one_step"], record["val_ra"]
            record["collapsed"] = has_collapsed(one_step, ra, self.highest_ra, len(y))
            if self.settings.ga_images:
                net, size = self.candidates["model"].net, min(250, self.settings.at_once)
                record["ga"] = gradient_alignment(net, *self.ga_images, eps, seed=self.settings.seed, batch_size=size)
        return record | {"select_seconds": time.perf_counter() - start}

    def roll_back(self, record: dict[str, Any]) -> bool:
        """Say that the epoch of `record` has collapsed; under "rollback" take it back and return True."""
        what = (
            f"collapsed in epoch {record['epoch']}: accuracy {record['val_one_step']:.1f} % under one step, "
            f"{record['val_ra']:.1f} % under PGD (catastrophic overfitting)"
        )
        self.stopped, fix = self.settings.on_collapse == "stop", remedy(self.method)
        if self.settings.on_collapse != "rollback" or fix is None:
            why = ", no remedy is left" if self.settings.on_collapse == "rollback" else ""
            say(f"{what}{why}; {'stopped' if self.stopped else 'going on'}, best.safetensors keeps the best epoch")
            return False
        self.restore()
        self.method = fix
        self.discarded.append(record)
        self.save_state()
        say(f"{what}; back to epoch {self.epoch}, on with PGD-AT, {fix.steps} steps of eps / {fix.steps}")
        return True

    def save(self, record: dict[str, Any]) -> None:
        """Write the finished epoch: weights first, the state that says it is finished last."""
        if self.discarded:
            record |= {"discarded": self.discarded}
        if self.method is not self.given:
            record |= {"remedy_steps": getattr(self.method, "steps", None)}
        self.discarded, self.highest_ra = [], max(self.highest_ra, record.get("val_ra", -1.0))
        for candidate in self.candidates.values():
            best = record[f"best{candidate.suffix}"] = candidate.is_best(record)
            for which in ("best", "last") if best else ("last",):
                save_model(self.run.weights(f"{which}{candidate.suffix}"), candidate.model, self.about())
        append_record(self.run.metrics, record | {"peak_memory_mib": peak_memory_mib(self.device)})
        self.save_state()

    def save_state(self) -> None:
        """Write what training goes on from."""
        bests = {kind: candidate.best for kind, candidate in self.candidates.items()}
        about = {**self.about(), "bests": bests, "highest_ra": self.highest_ra, "discarded": self.discarded}
        save_state(self.run.state, self.models(), self.optimizer, self.method, about)

    def restore(self) -> None:
        """Go back to the state on disk, the last epoch that was finished and kept."""
        tensors, found = read_state(self.run.state, self.about())
        self.method = pgd_at(self.given.eps, found["remedy_steps"]) if "remedy_steps" in found else self.given
        restore(tensors, self.models(), self.optimizer, self.method)
        self.epoch, self.highest_ra, self.discarded = found["epoch"], found["highest_ra"], found["discarded"]
        for kind, candidate in self.candidates.items():
            candidate.best = tuple(found["bests"][kind])

    def models(self) -> dict[str, nn.Module]:
        """Return the models whose weights are part of the run's state, by name."""
        return {kind: candidate.model for kind, candidate in self.candidates.items()}

    def about(self) -> dict[str, Any]:
        """Return what the weights say of themselves; no folder of this machine is in it, for weights travel."""
        config = {k: v for k, v in describe(self.given, self.settings).items() if k not in ("data_dir", "init_from")}
        about = {
            "model": self.model_args,
            "dataset": self.dataset,
            "image_size": list(self.validation[0].shape[2:]),
            "config": config,
            "epoch": self.epoch,
            "fastbat": version("fastbat"),
        }
        return about if self.method is self.given else {**about, "remedy_steps": getattr(self.method, "steps", None)}


def decayed(model: nn.Module, batchnorm: bool) -> list[dict[str, Any]]:
    """Return the optimizer's groups of weights; without `batchnorm` BatchNorm's weights are one without decay."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not batchnorm]
    free = [weight for layer in norms for weight in layer.parameters()]
    rest = [weight for weight in model.parameters() if not any(weight is other for other in free)]
    return [{"params": rest}, *([{"params": free, "weight_decay": 0.0}] if free else [])]


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """Return the line of an epoch's log."""
    loss = f"loss {record['loss']:.4f}" if "loss" in record else "no loss"
    active = f"  active {record['active']:.0%}" if "active" in record else ""
    skipped = f"  {record['skipped']} batches skipped" if "skipped" in record else ""
    robust = f" RA {record['val_ra']:.1f} %" if "val_ra" in record else ""
    if "val_ema_ra" in record:
        robust += f" (average {record['val_ema_sa']:.1f}, {record['val_ema_ra']:.1f} %)"
    return (
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  {loss}{active}{skipped}"
        f"  validation SA {record['val_sa']:.1f} %{robust}"
        f"  {record['seconds']:.1f} s + {record['select_seconds']:.1f} s selection{'  best' if record['best'] else ''}"
    )
