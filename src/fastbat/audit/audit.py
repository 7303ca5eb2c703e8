"""Measuring a model on disk: the model, the test images of its data set, and the record beside it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastbat.audit.claims import contradictions
from fastbat.audit.counters import batches_counted
from fastbat.audit.origin import Origin, name_of
from fastbat.audit.readings import find_hint
from fastbat.audit.subject import Subject, opened
from fastbat.audit.theory import measure, methods_by_weight, training_images
from fastbat.data import unit
from fastbat.errors import InputError
from fastbat.evaluation import Diagnosis, Evaluation, diagnose, evaluate, loss_landscape
from fastbat.evaluation.attacked import first_device
from fastbat.evaluation.request import Theory, attacks_of, check_surrogates
from fastbat.files import append_record, as_path, check_writable, read_records, write_json
from fastbat.progress import say
from fastbat.provenance import now, provenance, versions
from fastbat.runtime.processes import rank
from fastbat.training import Run, pick_device

FIGURE_3 = 1456  # the test image of the paper's loss landscape


def evaluate_target(
    target: Run | Path | str,
    checkpoint: str = "best",
    *,
    origin: Origin = Origin(),  # noqa: B008 (frozen)
    eps: float | list[float] | None = None,
    data_dir: Path | str | None = None,
    device: str = "auto",
    surrogates: Mapping[str, Run | Path | str] | None = None,
    out: Path | str | None = None,
    command: str | None = None,
    **how: Any,
) -> Evaluation:
    """Measure `target`: a run directory (its `checkpoint`), a file, timm/NAME or module:function (audit/target.py).

    `eps` (on the [0, 1] scale) and `data_dir` are those of the training unless given. `surrogates` are targets by name.
    The record, with the `command` that asked for it (this process's own unless given), is added to evaluation.jsonl in
    `out`, the run directory unless given; there, an interrupted evaluation resumes. `how` are the other keyword
    arguments of `fastbat.evaluate`. Raises InputError as `evaluate` does, and where target, weights or data are
    missing.
    """
    if "attacks" in how:
        check_surrogates(attacks_of(how["attacks"]), surrogates or {})
    named = {name: name_of(each, f"the surrogate {name}") for name, each in (surrogates or {}).items()}
    named_folder = None if out is None else as_path("out", out)
    subject = opened(name_of(target), origin, checkpoint, data_dir)
    if folder := named_folder or (subject.run.path if subject.run else None):
        check_writable(folder)
    place = pick_device(device)
    others = {name: opened(each, origin, "best", data_dir, subject.test) for name, each in named.items()}
    networks = {name: each.model.to(place) for name, each in others.items()}
    clean = "attacks" in how and attacks_of(how["attacks"]) == ("clean",)
    budgets = subject.trained_eps() if eps is None and not clean else eps
    about = subject.source() | {"origin": {name: value for name, value in asdict(origin).items() if value is not None}}
    about |= provenance(place, command)
    if not subject.run and (counts := batches_counted(subject.model)):
        about["batches_counted"] = counts
    model = subject.model.to(place)

    def tell() -> None:
        if rank() == 0:
            say_how_read(subject, *others.values())
            images = subject.test.slice(0, how.get("limit"))
            if subject.reading and (hint := find_hint(subject.reading, images, subject.dataset)):
                about["hint"] = hint
                say(hint)

    def keep(result: Evaluation) -> None:
        if subject.reading and rank() == 0:
            says, size = subject.read.get("says", {}), how.get("batch_size", 250)
            about["contradictions"] = contradictions(says, result.said_of(**about), subject.reading, subject.test, size)
        if folder and rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            add_once(folder / "evaluation.jsonl", {"time": now(), **result.said_of(**about).record()})

    how |= {"surrogates": networks, "resume_in": folder, "begin": tell, "done": keep}
    return evaluate(model, subject.test, eps=budgets, **how).said_of(**about)


def add_once(file: Path, record: dict[str, Any]) -> None:
    """Add the record of an evaluation, unless it is the last one already: to the attacks' seconds, the same."""
    last = read_records(file)[-1:]
    if [each.get("accuracies") for each in last] != [record["accuracies"]]:
        append_record(file, record)


def say_how_read(*subjects: Subject) -> None:
    """Print how each file of weights was read: what of it, what was left out, what was assumed."""
    for each in subjects:
        if "read_as" in each.read:
            say(f"{each.file}: {each.read['read_as']}")


def diagnose_target(
    target: Run | Path | str,
    out: Path | str,
    checkpoint: str = "best",
    *,
    origin: Origin = Origin(),  # noqa: B008 (frozen)
    eps: float | None = None,
    limit: int | None = 500,
    image: int | None = None,
    examples: int = 8,
    data_dir: Path | str | None = None,
    device: str = "auto",
    seed: int = 0,
    theory: Theory = Theory(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Look closer at `target` on its first `limit` test images; write what is found into the folder `out`, return it.

    OUT/diagnosis.json, landscape.npz (steps, losses) and landscape.png around test image `image` (Figure 3: 1456, the
    first where there are fewer), flatness.npz, smallest-eps.npz; easiest.png and .npz with the images that broke at the
    smallest budgets and what the model says of them. Raises InputError where target, weights, data or matplotlib are
    missing, or the model has no gradient. With `theory` diagnosis.json also has what it asks of Appendix E, for a run
    of FAST-BAT.
    """
    from fastbat.audit.figures import draw_examples, draw_landscape  # here, for its library is an extra

    out = as_path("out", out)
    subject = opened(name_of(target), origin, checkpoint, data_dir)
    eps, place = subject.trained_eps() if eps is None else eps, pick_device(device)
    for what, count, least in (("limit", limit, 1), ("examples", examples, 0)):
        if count is not None and count < least:
            raise InputError(f"{what} is {count}; it must be at least {least}")
    model, n = subject.model.to(place), len(subject.test)
    image = (FIGURE_3 if n > FIGURE_3 else 0) if image is None else image
    if not 0 <= image < n:
        raise InputError(f"image is {image}; the test images are numbered from 0 to {n - 1}")
    methods = methods_by_weight(subject) if theory.asked else {}
    trained_on = training_images(subject, data_dir, theory.train_images) if theory.asked else None
    x, y = subject.test.slice(0, limit).tensors()
    check_writable(out)
    say_how_read(subject)
    found = diagnose(model, x, y, eps=eps, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    one, label = subject.test.slice(image, image + 1).tensors()
    steps, losses = loss_landscape(model, one[0].to(place), int(label), 2 * eps, seed=seed)
    np.savez(out / "landscape.npz", steps=steps.cpu().numpy(), losses=losses.cpu().numpy())
    np.savez(out / "flatness.npz", loss_range=found.loss_range.numpy(), loss_bend=found.loss_bend.numpy())
    np.savez(out / "smallest-eps.npz", smallest_eps=found.smallest_eps.numpy())
    draw_landscape(out / "landscape.png", steps, losses, f"test image {image}")
    order = [i for i in found.smallest_eps.argsort(stable=True).tolist() if 0 < found.smallest_eps[i] < torch.inf]
    kept = order[:examples]
    if kept:
        np.savez_compressed(out / "easiest.npz", **predictions(model, x[kept], y[kept], found, kept))
    rows = [
        (x[i], found.x_adv[i], f"test image {i}, {subject.test.classes[y[i]]}: {255 * found.smallest_eps[i]:g}/255")
        for i in kept
    ]
    if rows:
        draw_examples(out / "easiest.png", rows)
    about = subject.source() | provenance(place) | {"versions": versions("torch", "numpy")}
    about |= {"classes": list(subject.test.classes)}
    of_theory = measure(model, methods, trained_on, theory, seed) if trained_on else {}
    numbers = {**found.numbers, **of_theory, "easiest": kept, "landscape_image": image, "settings": about}
    write_json(out / "diagnosis.json", numbers)
    return numbers


@torch.no_grad()
def predictions(model: nn.Module, x: Tensor, y: Tensor, found: Diagnosis, index: list[int]) -> dict[str, Any]:
    """Return images (N, C, H, W), their adversarial examples, and what `model` says of both and how sure it is."""
    model.eval()
    before, x_adv = unit(x), found.x_adv[index]
    said: dict[str, Any] = {}
    for name, images in (("", before), ("_adv", x_adv)):
        sure, says = model(images.to(first_device(model, images))).softmax(1).max(1)
        said |= {f"says{name}": says.cpu().numpy(), f"sure{name}": sure.cpu().numpy()}
    kept = {"x": before, "x_adv": x_adv, "label": y, "smallest_eps": found.smallest_eps[index]}
    return {"index": np.array(index), **{name: each.cpu().numpy() for name, each in kept.items()}, **said}
