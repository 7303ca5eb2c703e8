"""The trainer: SGD on the losses a method yields, the best epoch by robust validation accuracy, a run on disk.

    for loss in method.losses(model, batch): loss.backward()
    optimizer.step(); optimizer.zero_grad()

Everything random in a step belongs to (seed, step), so a run that is stopped and resumed gives the weights of one that
never stopped, bit for bit on one CPU with the same number of threads.
"""

import math
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from fastbat.data import DATASETS, Loader, Splits, load
from fastbat.errors import DivergedError
from fastbat.evaluation import correct, frozen, robust_to_pgd
from fastbat.files import append_record, read_records, write_records
from fastbat.methods import Method
from fastbat.models import MODELS, build_model, save_model, start_from
from fastbat.progress import bar, say
from fastbat.randomness import seed_torch
from fastbat.training.machine import peak_memory_mib, pick_device, synchronize
from fastbat.training.precision import Autocast
from fastbat.training.rehearsal import rehearse
from fastbat.training.run import Run
from fastbat.training.schedule import triangular
from fastbat.training.settings import Settings, describe
from fastbat.training.state import Best, load_state, save_state


def train(method: Method, settings: Settings, out: Path | str, *, resume: bool = False) -> Run:
    """Train with `method` and return the run directory `out`; with `resume` go on after its last finished epoch.

    Raises InputError before anything is written where `out` holds another run, `resume` comes with other settings,
    or the data are not to be had; DivergedError where the loss or a weight is no longer a number. Seeds torch's
    global generators.
    """
    run, settings = Run(Path(out)), settings.resolved(method)
    config = describe(method, settings)
    check = run.check_same if resume else run.check_free
    check(config)
    device = pick_device(settings.device)
    splits = load(settings.dataset, settings.data_dir)
    if settings.train_limit is not None:
        splits = replace(splits, train=splits.train.slice(0, settings.train_limit))
    method = replace(method)  # type: ignore[type-var]  # a new one, for the memory of another run is not this run's
    trainer = Trainer(run, method, settings, splits, device)
    with run.locked():
        check(config)  # again: another process may have been here while the data were read
        run.write_config(config)
        trainer.train()
    return run


class Trainer:
    """One run in progress: the model, its optimizer, and how far they have come."""

    def __init__(self, run: Run, method: Method, settings: Settings, splits: Splits, device: torch.device) -> None:
        self.run, self.method, self.settings, self.device = run, method, settings, device
        card = DATASETS[settings.dataset]
        self.loader = Loader(splits.train.to(device), settings.batch_size, settings.seed, card.pad, card.flip)
        self.validation = splits.validation.slice(0, settings.select_limit).to(device).tensors()
        self.model_args: dict[str, Any] = {
            "name": settings.model,
            "num_classes": len(splits.train.classes),
            "width": settings.width,
            "activation": settings.activation,
            "stem": settings.stem,
            "dropout": settings.dropout,
            "mean": card.mean,
            "std": card.std,
        }
        self.dataset = {
            "name": settings.dataset,
            "fingerprint": splits.train.fingerprint,
            "classes": splits.train.classes,
        }
        seed_torch(settings.seed, "weights")
        self.model = build_model(**self.model_args).to(device)
        if settings.init_from is not None and not run.state.exists():
            start_from(self.model, Path(settings.init_from))
        self.net: nn.Module = Autocast(self.model) if settings.precision == "bf16" else self.model
        self.optimizer = SGD(
            self.model.parameters(), lr=0.0, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        assert settings.max_lr is not None  # resolved
        assert settings.epochs is not None
        self.max_lr, self.epochs, self.epoch, self.best = settings.max_lr, settings.epochs, 0, Best()
        self.replays: int = getattr(method, "replays", 1)
        if settings.model not in MODELS:
            rehearse(self.net, method, next(iter(self.loader.epoch(0))), len(splits.train.classes))

    def train(self) -> None:
        """Train the epochs that are left; after each, the run on disk is complete."""
        if self.run.state.exists():
            self.epoch, self.best = load_state(self.run.state, self.model, self.optimizer, self.method, self.about())
        write_records(self.run.metrics, read_records(self.run.metrics)[: self.epoch])
        while self.epoch < self.epochs:
            record = self.train_epoch() | self.select()
            self.epoch += 1
            self.save(record)
            say(epoch_line(record, self.epochs))

    def train_epoch(self) -> dict[str, Any]:
        """Run the method over every training image once; return the epoch's training record."""
        start = time.perf_counter()
        sums: dict[str, Tensor] = {}
        name = f"epoch {self.epoch + 1} of {self.epochs}"
        with bar(name) as show:
            for i, batch in enumerate(self.loader.epoch(self.epoch)):
                show(i / len(self.loader), name)
                for replay in range(self.replays):
                    step = (self.epoch * len(self.loader) + i) * self.replays + replay
                    for k, v in self.update(batch, step).items():
                        sums[k] = sums.get(k, torch.zeros_like(v)) + v * len(batch.y)
        synchronize(self.device)
        seconds = time.perf_counter() - start
        means = {k: v.item() / (len(self.loader.images) * self.replays) for k, v in sums.items()}
        finite = all(bool(weight.isfinite().all()) for weight in self.model.parameters())
        if not (finite and math.isfinite(means["loss"])):
            raise DivergedError(
                f"training diverged in epoch {self.epoch + 1}: loss {means['loss']:g}, weights "
                f"{'finite' if finite else 'not finite'}; train into another --out with a lower --max-lr"
            )
        speed = {"seconds": seconds, "images_per_second": len(self.loader.images) / seconds}
        return {"epoch": self.epoch + 1, **means, "lr": self.optimizer.param_groups[0]["lr"], **speed}

    def update(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Make one update of the weights; return the mean loss and what the method measured, still on the device."""
        settings = self.settings
        seed_torch(settings.seed, "step", step)
        steps = self.epochs * len(self.loader) * self.replays
        self.optimizer.param_groups[0]["lr"] = triangular(step, steps, self.max_lr)
        self.model.train()
        values = []
        for loss in self.method.losses(self.net, batch):
            loss.backward()
            values.append(loss.detach())
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"loss": torch.stack(values).mean(), **self.method.stats}

    def select(self) -> dict[str, Any]:
        """Return SA and, given a budget, RA in percent on the validation images; the same starts every epoch."""
        start, settings, eps = time.perf_counter(), self.settings, self.method.eps
        (x, y), size = self.validation, max(settings.batch_size, 250)
        with frozen(self.model), bar("validation") as show:
            robust = clean = correct(self.net, x, y, size)
            if eps:
                robust = robust_to_pgd(
                    self.net, x, y, clean, eps=eps, step=eps / 4, steps=settings.select_steps,
                    restarts=settings.select_restarts, seed=settings.seed, batch_size=size, show=show,
                )  # fmt: skip
        sa, ra = (100 * mask.float().mean().item() for mask in (clean, robust))
        accuracies = {"val_sa": sa, "val_ra": ra} if eps else {"val_sa": sa}
        return {"val_n": len(y), **accuracies, "select_seconds": time.perf_counter() - start}

    def save(self, record: dict[str, Any]) -> None:
        """Write the finished epoch: weights first, the state that says it is finished last."""
        now = Best(record.get("val_ra", 0.0), record["val_sa"], self.epoch)
        record |= {"peak_memory_mib": peak_memory_mib(self.device), "best": now.beats(self.best)}
        if record["best"]:
            self.best = now
            save_model(self.run.weights("best"), self.model, self.about())
        save_model(self.run.weights("last"), self.model, self.about())
        append_record(self.run.metrics, record)
        save_state(self.run.state, self.model, self.optimizer, self.method, self.about(), self.best)

    def about(self) -> dict[str, Any]:
        """Return what the weights say of themselves; no folder of this machine is in it, for weights travel."""
        config = {k: v for k, v in describe(self.method, self.settings).items() if k not in ("data_dir", "init_from")}
        return {
            "model": self.model_args,
            "dataset": self.dataset,
            "image_size": list(self.validation[0].shape[2:]),
            "config": config,
            "epoch": self.epoch,
            "fastbat": version("fastbat"),
        }


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """Return the line of an epoch's log."""
    active = f"  active {record['active']:.0%}" if "active" in record else ""
    robust = f" RA {record['val_ra']:.1f} %" if "val_ra" in record else ""
    return (
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  loss {record['loss']:.4f}{active}"
        f"  validation SA {record['val_sa']:.1f} %{robust}"
        f"  {record['seconds']:.1f} s + {record['select_seconds']:.1f} s selection{'  best' if record['best'] else ''}"
    )
