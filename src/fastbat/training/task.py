"""What a run trains on what: all that stays the same from its first step to its last."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fastbat.data import DatasetCard, Loader, Splits, check_not_blank
from fastbat.data.share import Shares
from fastbat.errors import InputError
from fastbat.methods import Method
from fastbat.models import SHAPE
from fastbat.provenance import version_of
from fastbat.runtime.device import pick_device
from fastbat.runtime.processes import rank, world
from fastbat.training.horizon import decay_of
from fastbat.training.run import OF_THIS_MACHINE
from fastbat.training.schedule import piecewise, triangular
from fastbat.training.settings import Settings, effective

Labelled = tuple[Tensor, Tensor]  # images (N, C, H, W) in [0, 1] or bytes, labels (N,)


@dataclass(frozen=True)
class Task:
    """A method, its settings and its images."""

    method: Method
    settings: Settings  # resolved; a dry run may still change the precision
    config: dict[str, Any]  # the table of config.toml, when the precision is known
    device: torch.device
    loader: Loader  # of the training images
    validation: Labelled
    ga_images: Labelled  # of the test split, for gradient alignment
    tests: int  # images of the test split
    card: DatasetCard
    dataset: dict[str, Any]  # name, fingerprint and classes, for the weights' metadata

    @staticmethod
    def of(method: Method, settings: Settings, splits: Splits) -> "Task":
        """Return the task on these images; InputError where they do not suit the method."""
        device = pick_device(settings.device)
        check_not_blank(splits.train, f"training images of {settings.dataset}")
        train = splits.train if settings.train_limit is None else splits.train.slice(0, settings.train_limit)
        card, held = splits.card, splits.validation.slice(0, settings.select_limit or None)
        augmentation = (card.pad or 0, card.flip, card.rotation, card.phases)
        shares = Shares(rank(), world(), method.traits.shared_by)
        images, seed = train.to(device), settings.seed
        loader = Loader(images, settings.batch_size, seed, *augmentation, settings.epochs or 0, shares=shares)
        for need, reason in method.traits.needs.items():
            if need not in loader.keeps:
                raise InputError(reason)
        dataset = {"name": settings.dataset, "fingerprint": train.fingerprint, "classes": train.classes}
        if settings.validation == "test":
            dataset["validation"] = "test"
        return Task(
            method=replace(method),  # type: ignore[type-var]  # a new one: the memory of another run is not this run's
            settings=settings,
            config={},
            device=device,
            loader=loader,
            validation=held.to(device).tensors(),
            ga_images=splits.test.slice(0, settings.ga_images).to(device).tensors(),
            tests=len(splits.test),
            card=card,
            dataset=dataset,
        )

    @property
    def epochs(self) -> int:
        """Passes over the training images."""
        return self.settings.epochs or 0

    @property
    def classes(self) -> int:
        """Classes of the data set."""
        return len(self.dataset["classes"])

    @property
    def network(self) -> dict[str, Any]:
        """The arguments of `build_model`."""
        shape = {name: getattr(self.settings, name) for name in SHAPE}
        normalisation = {"mean": self.card.mean, "std": self.card.std}
        return {"name": self.settings.model, "num_classes": self.classes, **shape, **normalisation}

    @property
    def ema(self) -> float:
        """Decay of the average of the weights, where there is one."""
        assert self.settings.ema is not None
        return decay_of(self.settings.ema, self.steps(self.epochs, self.method.traits.replays))

    def steps(self, epochs: float, replays: int) -> int:
        """Return the number of updates in the first `epochs` epochs."""
        return self.loader.steps(round(epochs)) * replays

    def height(self, step: int, replays: int) -> float:
        """Return the learning rate of update `step` in units of its peak."""
        if self.card.rates:
            return piecewise(step, [(self.steps(when * self.epochs, replays), rate) for when, rate in self.card.rates])
        return triangular(step, self.steps(self.epochs, replays), self.settings.final_lr)

    def about(self) -> dict[str, Any]:
        """Return what the weights say of where they come from."""
        config = {name: value for name, value in effective(self.config).items() if name not in OF_THIS_MACHINE}
        size = list(self.validation[0].shape[2:])
        return {
            "model": self.network,
            "dataset": self.dataset,
            "image_size": size,
            "config": config,
            "fastbat": version_of("fastbat"),
        }
