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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from fastbat.data import Batch, Loader, Splits, load
from fastbat.errors import DivergedError, InputError
from fastbat.evaluation import gradient_alignment
from fastbat.files import append_record, locked, read_records, write_records
from fastbat.methods import Method
from fastbat.models import MODELS, SHAPE, build_model, load_weights, save_model
from fastbat.precision import Autocast, ieee_float32
from fastbat.progress import bar, say
from fastbat.provenance import provenance, versions
from fastbat.randomness import seed_torch
from fastbat.training.average import Average
from fastbat.training.collapse import has_collapsed, pgd_at, remedy
from fastbat.training.gradients import Sums, add, gradients, means
from fastbat.training.machine import peak_memory_mib, pick_device, synchronize
from fastbat.training.pace import Compiled, pace, pick_layout
from fastbat.training.rehearsal import rehearse
from fastbat.training.run import Run
from fastbat.training.schedule import piecewise, triangular
from fastbat.training.selection import Candidate, judge, naming_one_class
from fastbat.training.settings import Settings, describe
from fastbat.training.state import read_state, restore, save_state


@ieee_float32()
def train(
    method: Method, settings: Settings, out: Path | str, *, resume: bool = False, command: str | None = None
) -> Run:
    """Train with `method` and return the run directory `out`; with `resume` go on after its last finished epoch.

    The run's provenance.jsonl has the `command` that asked for it, this process's own unless given.

    Raises InputError before anything is written where `out` holds another run, `resume` comes with other settings,
    or the data are not to be had; DivergedError where the loss or a weight is no longer a number. Seeds torch's
    global generators.
    """
    run, settings = Run(out), settings.resolved(method)
    config = describe(method, settings)
    check = run.check_same if resume else run.check_free
    check(config)
    trainer = prepare(method, settings, run)
    with locked(run.path, "training"):
        check(config)  # again: another process may have been here while the data were read
        run.write_config(config)
        about = {**provenance(trainer.device, command), "versions": versions("torch", "numpy")}
        append_record(run.provenance, about)
        say(trainer.pace)
        trainer.train()
    return run


def prepare(method: Method, settings: Settings, run: Run) -> "Trainer":
    """Return a trainer with model and data for `run`, where nothing is written yet; `settings` are resolved."""
    how = ("image_column", "label_column", "image_size", "validation", "pad", "flip", "rotation", "workers")
    device = pick_device(settings.device)
    splits = load(settings.dataset, settings.data_dir, **{name: getattr(settings, name) for name in how})
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
        """Make the network, its average, what its passes run and its optimizer; try them where they are not ours."""
        settings, method, name = self.settings, self.method, self.model_args["name"]
        seed_torch(settings.seed, "weights")
        self.model = build_model(**self.model_args).to(self.device)
        if settings.init_from is not None and not self.run.state.exists():
            load_weights(self.model, Path(settings.init_from), new_head=True)
        layout = pick_layout(method, name, self.model, settings.precision, self.device)
        self.pace = pace(method, layout, settings.precision, self.device)
        self.model = self.model.to(memory_format=layout)
        self.average = None if settings.ema is None else Average(self.model, settings.ema)
        self.candidates = {"model": Candidate(self.model, self.runs(self.model))}
        if self.average:
            ema = self.average.model
            self.candidates["ema"] = Candidate(ema, self.runs(ema), "-ema", "val_ema")
        alone = 1 in (settings.batch_size, len(self.loader.images))  # what is BatchNorm of one image?
        if name not in MODELS or alone or self.model_args["num_classes"] < 3:  # DLR of two classes?
            part, copy = next(iter(self.loader.epoch(0))).split(settings.accumulate)[0], deepcopy(self.model)
            for net in (copy, Compiled(copy)) if settings.compile else (copy,):
                rehearse(self.runs(net), method, part, self.model_args["num_classes"])
        self.compiled = Compiled(self.model) if settings.compile else None
        self.net = self.runs(self.compiled or self.model)  # what the method's passes run
        fused = True if name in MODELS else None  # it has no room for a weight that gets its first gradient later
        how = {"momentum": settings.momentum, "weight_decay": settings.weight_decay, "fused": fused}
        groups = decayed(self.model, settings.decay_batchnorm is not False)
        self.optimizer = SGD(groups, 0.0, **how)  # type: ignore[arg-type]

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
        name = f"epoch {self.epoch + 1} of {self.epochs}"
        first, end = self.loader.steps(self.epoch), self.loader.steps(self.epoch + 1)
        if self.compiled:
            self.compiled.size = 0  # that of this epoch's first part
        with bar(name) as show:
            for i, batch in enumerate(self.loader.epoch(self.epoch)):
                show(i / (end - first), name)
                for replay in range(self.replays):
                    step = (first + i) * self.replays + replay
                    for k, v in self.update(batch, step).items():
                        add(sums, k, v, len(batch.y))
        synchronize(self.device)
        seconds = time.perf_counter() - start
        found = {name: value.item() for name, value in means(sums).items()}
        finite = all(bool(weight.isfinite().all()) for weight in self.model.parameters())
        if not (finite and math.isfinite(found["loss"])):
            raise DivergedError(
                f"training diverged in epoch {self.epoch + 1}: loss {found['loss']:g}, weights "
                f"{'finite' if finite else 'not finite'}; train into another --out with a lower --max-lr"
            )
        speed = {"seconds": seconds, "images_per_second": len(self.loader.images) / seconds}
        return {"epoch": self.epoch + 1, **found, "lr": self.optimizer.param_groups[0]["lr"], **speed}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Make one update of the weights; return the mean loss and what the method measured, still on the device."""
        settings = self.settings
        seed_torch(settings.seed, "step", step)
        self.schedule(step)
        self.model.train()
        if settings.label_smoothing:
            batch = replace(batch, label_smoothing=settings.label_smoothing)
        found = gradients(self.method, self.net, batch, settings.accumulate)
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
    active = f"  active {record['active']:.0%}" if "active" in record else ""
    robust = f" RA {record['val_ra']:.1f} %" if "val_ra" in record else ""
    if "val_ema_ra" in record:
        robust += f" (average {record['val_ema_sa']:.1f}, {record['val_ema_ra']:.1f} %)"
    return (
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  loss {record['loss']:.4f}{active}"
        f"  validation SA {record['val_sa']:.1f} %{robust}"
        f"  {record['seconds']:.1f} s + {record['select_seconds']:.1f} s selection{'  best' if record['best'] else ''}"
    )
