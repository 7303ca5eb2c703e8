"""fastbat.evaluate: standard accuracy and accuracy under attacks of any classifier, checked before and after."""

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastbat.attacks import standard_parts
from fastbat.attacks.ensemble import QUERIES
from fastbat.data import ImageSet, fingerprint
from fastbat.evaluation.attacked import TestImages
from fastbat.evaluation.check import check_models, check_networks, gather
from fastbat.evaluation.journal import Journal
from fastbat.evaluation.measures import by_class
from fastbat.evaluation.probe import enough, probes, raised_flags
from fastbat.evaluation.record import Accuracy, Evaluation
from fastbat.evaluation.request import (
    Precision,
    attacks_of,
    budgets_of,
    check_examples_file,
    check_seed,
    check_surrogates,
    whole,
)
from fastbat.evaluation.rounds import TRANSFER_STEPS, Plan, expanded, label
from fastbat.evaluation.runner import Measured, Measurement, Runner
from fastbat.evaluation.search import attacked_model
from fastbat.files import as_path, check_writable, checksum
from fastbat.geometry import tiny
from fastbat.progress import say
from fastbat.provenance import versions as package_versions
from fastbat.randomness import seed_torch
from fastbat.runtime.modes import frozen
from fastbat.runtime.processes import rank


def evaluate(
    model: nn.Module,
    data: tuple[Tensor, Tensor] | ImageSet | Iterable[Any],
    *,
    eps: float | Iterable[float] | None = None,
    attacks: str | Iterable[str] = ("clean", "pgd"),
    pgd_steps: int = 50,
    pgd_restarts: int = 10,
    surrogates: Mapping[str, nn.Module] | None = None,
    eot: int = 1,
    precision: Precision = "auto",
    limit: int | None = None,
    batch_size: int = 250,
    seed: int = 0,
    resume_in: Path | str | None = None,
    save_adversarial: Path | str | None = None,
    begin: Callable[[], object] = lambda: None,
    done: Callable[[Evaluation], object] = lambda result: None,
) -> Evaluation:
    """Measure the accuracies of `model` under `attacks` within the Linf budget `eps` (on the [0, 1] scale).

    `clean` alone needs no budget.

    `model` maps images (B, C, H, W) in [0, 1] to logits (B, K), its normalisation inside; it is evaluated where its
    weights are, in eval mode, and put back as it was. `data` is (x, y), or a loader of (x, y) or of objects with x and
    y, or an image set of `fastbat.data`; `limit` takes the first N images. `attacks` are names of ATTACKS; transfer
    needs `surrogates`, networks by name. A sequence of `eps` gives the curve. Every attack starts from the images
    classified correctly, and an example counts only if the model misclassifies it in its own precision.

    `precision` is that of the search: bf16 where the device multiplies in bf16 (auto), or float32 throughout. `eot`
    climbs the mean logits of so many passes, for a model that is random. `resume_in` is a folder in which finished
    blocks are kept until the evaluation is complete, so that the same call goes on after an interruption;
    `save_adversarial` a .safetensors file for the verified examples: ATTACK@EPS/BLOCK/x, /y and /index. `begin` is
    called when all is checked, `done` with the result before the finished blocks are forgotten, to keep it.

    Raises InputError before any attack: images not finite or outside [0, 1], labels outside the classes, a model that
    does not take the images, eps outside (0, 1], an unknown attack, counts below 1.
    """
    attacks, seed = attacks_of(attacks), check_seed(seed)
    budgets = () if eps is None and attacks == ("clean",) else budgets_of(eps)
    pgd_steps, pgd_restarts = whole("pgd_steps", pgd_steps), whole("pgd_restarts", pgd_restarts)
    batch_size, eot = whole("batch_size", batch_size), whole("eot", eot)
    limit = None if limit is None else whole("limit", limit)
    surrogates = {} if surrogates is None else surrogates
    check_surrogates(attacks, surrogates)
    counts = {"pgd_steps": pgd_steps, "pgd_restarts": pgd_restarts, "batch_size": batch_size, "eot": eot}
    check_networks(model, surrogates)
    if save_adversarial is not None:
        check_examples_file(save_adversarial := as_path("save_adversarial", save_adversarial))
    if resume_in is not None:
        check_writable(resume_in := as_path("resume_in", resume_in))
    with frozen(model, *surrogates.values()):
        x, y = gather(data, limit)
        images = TestImages.of(x, y, model)
        num_classes, white_box = check_models(model, surrogates, images, attacks, class_names(data))
        attacked, used = attacked_model(model, precision, eot, images, white_box)
        plan = Plan(0.0, num_classes, seed, pgd_steps, pgd_restarts, surrogates=surrogates)
        clean = Measurement("clean", plan, len(y))
        names = expanded(attacks, surrogates)
        asked = [Measurement(name, replace(plan, eps=at), len(y)) for at in budgets for name in names]
        added = probes(plan, budgets, len(y)) if asked and white_box else []
        settings = {**counts, "seed": seed, "precision": used, "device": images.device.type}
        settings |= {"attacks": list(attacks)} | identified(model, surrogates, images, seed) | versions(num_classes)
        images_of, keep = {each.name: each.n for each in (clean, *asked, *added)}, save_adversarial is not None
        folder = resume_in or (save_adversarial and save_adversarial.parent)
        journal = Journal(folder, {**settings, "jobs": images_of, "examples": keep})
        if save_adversarial is not None:
            journal.check_new(save_adversarial)
        runner = Runner(attacked, images, batch_size, journal, keep)
        with journal.held():
            begin()
            for line in filter(None, map(tiny, budgets if rank() == 0 else ())):
                say(line)
            wrong = runner.run(clean)
            runner = replace(runner, clean=~wrong.broken)
            found = [runner.run(each) for each in (*asked, *(added if enough(~wrong.broken) else ()))]
            flags, not_judged = raised_flags(runner, wrong, found, budgets, white_box)
            if save_adversarial is not None and rank() == 0:
                journal.save(save_adversarial)
            shown = [wrong, *found[: len(asked)]]
            accuracies = tuple(accuracy(each, ~wrong.broken, y.cpu(), white_box) for each in shown)
            result = Evaluation(len(y), accuracies, flags, not_judged, settings)
            done(result)
            if rank() == 0:
                journal.remove()
    return result


def class_names(data: object) -> tuple[str, ...] | None:
    """Return the classes of a data set that names them; numbers are no names, and may lack a class."""
    names = data.classes if isinstance(data, ImageSet) else ()
    return names if names and names != tuple(map(str, range(len(names)))) else None


def identified(model: nn.Module, surrogates: Mapping[str, nn.Module], images: TestImages, seed: int) -> dict[str, Any]:
    """Return checksums of what is evaluated: weights, rounded outputs on a few images, images and labels."""
    seed_torch(seed, "identity")
    with torch.no_grad():
        some, _ = images.batch(slice(8))
        outputs = {name: each(some) for name, each in {"": model, **surrogates}.items()}
    rounded = {name: torch.round(100 * z / z.abs().max().clamp_min(1e-12)).cpu() for name, z in outputs.items()}
    return {
        "weights": weights_of(model),
        "surrogates": {name: weights_of(each) for name, each in surrogates.items()},
        "outputs": checksum(rounded, ""),
        "images": fingerprint(images.x.cpu(), images.y.cpu()),
    }


def weights_of(model: nn.Module) -> str:
    """Return the SHA-256 of a state_dict; what is no tensor in it enters as text."""
    state = model.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return checksum(tensors, "".join(f"{name}={value}" for name, value in state.items() if name not in tensors))


def versions(num_classes: int) -> dict[str, Any]:
    """Return what the numbers depend on beside the settings: AutoAttack's parts, versions."""
    return {
        "aa_parts": list(standard_parts(num_classes)),
        "steps": {"pgd": "eps / 4", "square_queries": QUERIES, "transfer": TRANSFER_STEPS},
        "versions": {"python": platform.python_version(), **package_versions("torch", "pyautoattack", "numpy")},
    }


def accuracy(found: Measured, clean: Tensor, y: Tensor, white_box: bool) -> Accuracy:
    """Return what a measurement leaves of the images classified correctly, in all and by class."""
    about, plan, right = found.measurement, found.measurement.plan, clean & ~found.broken
    name = label(about.attack, plan.steps, plan.restarts)
    bound = not white_box and about.attack != "clean"
    shares = by_class(right, y, plan.num_classes)
    mask = np.packbits(right.numpy()).tobytes().hex()
    return Accuracy(
        about.attack, name, plan.eps, int(right.sum()), len(y), found.seconds, found.rejected, shares, bound, mask
    )
