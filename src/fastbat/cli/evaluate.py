"""fastbat evaluate, diagnose and export: what a run left behind, measured, looked at, written for other programs."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fastbat.audit.check import check_target
from fastbat.audit.counters import in_words
from fastbat.audit.origin import Origin, numbers, run_of
from fastbat.cli.listing import print_json
from fastbat.cli.words import BUDGET
from fastbat.console import print_rows, stdout
from fastbat.errors import InputError
from fastbat.evaluation.request import (
    Precision,
    Theory,
    attacks_of,
    budgets_of,
    check_examples_file,
    check_seed,
    check_surrogates,
    whole,
)
from fastbat.files import check_page, check_writable
from fastbat.plain import plain_text
from fastbat.progress import say
from fastbat.training import Checkpoint, export_model

if TYPE_CHECKING:
    from fastbat.evaluation import Evaluation


@dataclass(frozen=True)
class Request:
    """What is measured, and how; the same names are flags of `fastbat evaluate` and keys of a suite's [evaluate]."""

    attacks: str = "clean,pgd"
    """Comma-separated: clean, noise, fgsm, pgd, aa, square, transfer, ... (`fastbat list attacks`)."""
    eps: Annotated[str | None, BUDGET] = None
    """Linf budgets of the attacks on the 0-255 scale, comma-separated; the one trained against unless given."""
    pgd_steps: int = 50
    """Steps of PGD, each of eps / 4."""
    pgd_restarts: int = 10
    """Random starts of PGD."""
    surrogates: str | None = None
    """For transfer: models to attack first, comma-separated, each given as a target is."""
    eot: int = 1
    """Climb the mean of N passes, for a model that is random."""
    precision: Precision = "auto"
    """Of the search: bf16 where the device has it, or float32. Examples are verified in float32 either way."""
    limit: int | None = None
    """Only the first N test images."""
    batch_size: int = 250
    """Images attacked at a time."""
    seed: int = 0
    """Of the attacks' random starts."""
    out: Path | None = None
    """Folder for evaluation.jsonl and what an interrupted evaluation resumes from; the run directory unless given."""
    save_adversarial: Path | None = None
    """Write the verified adversarial examples to this .safetensors file."""
    data_dir: Path | None = None
    """Folder with the data set; the one trained from unless given."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""

    def arguments(self) -> dict[str, Any]:
        """Return what `evaluate_target` is asked for; InputError where a list is none, or an attack is unknown."""
        eps = None if self.eps is None else [number / 255 for number in numbers("eps", self.eps, "8 or 2,4,8")]
        return vars(self) | {"eps": eps, "attacks": attacks_of(self.attacks), "surrogates": named(self.surrogates)}


def evaluate_command(
    target: str,
    /,
    *,
    checkpoint: Checkpoint = "best",
    request: Annotated[Request, Parameter(name="*")] = Request(),
    json: bool = False,
    report: Path | None = None,
    origin: Annotated[Origin, Parameter(name="*", group="A model that was not trained here")] = Origin(),  # noqa: B008
) -> None:
    """Measure how robust a model is, whoever trained it. Under torchrun the images are shared out.

    Parameters
    ----------
    target
        A run directory; a .safetensors, .pt or .onnx file; timm/NAME; or module:function.
    checkpoint
        Which weights of a run directory: of the best epoch by robust validation accuracy or the last, raw or averaged.
    json
        Print one JSON object instead of a table.
    report
        Write the page of this evaluation to this .html file (`fastbat report` writes that of many).
    """
    check_evaluation(request=request, report=report)
    check_target(target, checkpoint, origin, request.data_dir)
    out = folder(target, request)
    from fastbat.audit import evaluate_target
    from fastbat.runtime.processes import rank, start_processes

    start_processes()
    how = request.arguments() | {"out": out, "command": command(target, checkpoint, request, origin)}
    result = evaluate_target(target, checkpoint, origin=origin, **how)
    if rank() == 0:
        print_json(result.record()) if json else show(result)
        nowhere = "no record is kept: the working folder cannot be written; name another: --out DIR"
        say(f"kept in {out / 'evaluation.jsonl'}" if out else nowhere)
        if report is not None:
            from fastbat.report import report_evaluation

            run = run_of(Path(target))
            say(f"wrote {report_evaluation(result.record(), None if run is None else run.path, report)}")


def folder(target: str, request: Request) -> Path | None:
    """Return where the record goes: --out, the run directory, or a folder of the target's name in evaluations."""
    run = run_of(Path(target))
    chosen = request.out or (run.path if run else Path("evaluations") / last_name(target))
    try:
        check_writable(chosen)
    except InputError:
        if request.out or run:
            raise
        return None
    return chosen


def command(target: str, checkpoint: str, request: Request, origin: Origin) -> str:
    """Return the command that asks for the same: what is not as it is by default."""
    given = {"checkpoint": checkpoint} if checkpoint != "best" else {}
    for part, default in ((request, Request()), (origin, Origin())):
        given |= {name: value for name, value in vars(part).items() if value != getattr(default, name)}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    return shlex.join(["fastbat", "evaluate", target, *words])


def check_evaluation(*, request: Request = Request(), report: Path | None = None, **others: Any) -> None:
    """Raise InputError where `fastbat evaluate` with these arguments would be refused before it opens its target."""
    how = request.arguments()
    for name in ("pgd_steps", "pgd_restarts", "eot", "batch_size", "limit"):
        if how[name] is not None:
            whole(name, how[name])
    if how["eps"] is not None:
        budgets_of(how["eps"])
    check_seed(request.seed)
    check_surrogates(how["attacks"], how["surrogates"])
    if request.save_adversarial is not None:
        check_examples_file(request.save_adversarial)
    if report is not None:
        check_page(report)


def named(targets: str | None) -> dict[str, str]:
    """Return comma-separated targets, each NAME=TARGET or by its last name; InputError where two have the same."""
    pairs = [each.strip().rpartition("=")[::2] for each in targets.split(",")] if targets else []
    names = [name or last_name(target) for name, target in pairs]
    if len(set(names)) < len(names):
        raise InputError(f"surrogates {targets} have the same name twice; name them: a=FILE,b=FILE")
    return dict(zip(names, (target for _, target in pairs), strict=True))


def last_name(target: str) -> str:
    """Return the last part of a path or of a name, other characters than a name's replaced by -."""
    return re.sub(r"[^\w.+-]", "-", Path(target).stem if Path(target).is_file() else Path(target).name)


def show(result: "Evaluation") -> None:
    """Print one evaluation of a target: its table, then flags and notes, a line each."""
    about, console = result.settings, stdout()
    console.print(result, soft_wrap=True)
    lines = [about["hint"]] if "hint" in about else []
    if says := about.get("says"):
        figures = ", ".join(
            f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in says.items()
        )
        lines.append(f"{about['target']} says of itself: {figures}")
    if counts := about.get("batches_counted"):
        lines.append(f"{about['target']} was {in_words(counts)}")
    for line in (*lines, f"To quote: {result.sentence()}", f"Command: {about['command']}"):
        console.print(plain_text(line), soft_wrap=True, markup=False)


@dataclass(frozen=True)
class OfTheory:
    """What is measured of the paper's Appendix E; the same names are keys of a suite's [diagnose]."""

    noise_at: str | None = None
    """Sizes of mini-batches, comma-separated: bias and variance of their gradient next to that of all images."""
    decay_over: str | None = None
    """Numbers of steps, comma-separated: the mean gradient over N of plain SGD from these weights, in float64."""
    train_images: int = 8192
    """The first N training images: all that there are for it."""
    draws: int = 50
    """Mini-batches of each size."""

    def arguments(self) -> Theory:
        """Return what is asked for; InputError where a list is none."""
        sizes = {name: counts(name, getattr(self, name), "32,128,512") for name in ("noise_at", "decay_over")}
        return Theory(**sizes, train_images=self.train_images, draws=self.draws)


def counts(what: str, text: str | None, example: str) -> tuple[int, ...]:
    """Return the whole numbers of a comma-separated list such as `example`; InputError where it is none."""
    found = [] if text is None else numbers(what, text, example)
    if fraction := next((number for number in found if number != int(number)), None):
        raise InputError(f"{what} holds {fraction:g}; it must be whole numbers with commas between them: {example}")
    return tuple(map(int, found))


def diagnose_command(
    target: str,
    /,
    *,
    out: Path,
    checkpoint: Checkpoint = "best",
    eps: Annotated[float | None, BUDGET] = None,
    limit: int = 500,
    image: int | None = None,
    examples: int = 8,
    seed: int = 0,
    data_dir: Path | None = None,
    device: str = "auto",
    theory: Annotated[OfTheory, Parameter(name="*", group="Appendix E, for a run of FAST-BAT")] = OfTheory(),
    origin: Annotated[Origin, Parameter(name="*", group="A model that was not trained here")] = Origin(),  # noqa: B008
) -> None:
    """Look closer at a model: gradient alignment and size, loss landscape, the images that break most easily.

    Parameters
    ----------
    target
        A model, as for `fastbat evaluate`.
    out
        Folder for diagnosis.json, landscape.npz and .png, flatness.npz, smallest-eps.npz and easiest.png.
    checkpoint
        Which weights of a run directory.
    eps
        Linf budget to look around in, on the 0-255 scale; the one trained against unless given.
    limit
        The first N test images.
    image
        Test image of the loss landscape, from 0; the paper's 1456 unless given.
    examples
        How many of the images that break most easily are drawn.
    seed
        Of noise and random directions.
    data_dir
        Folder with the data set; the one trained from unless given.
    device
        cpu, cuda, or auto: cuda where there is one.
    """
    check_diagnosis(eps=eps, limit=limit, image=image, examples=examples, seed=seed, theory=theory)
    check_target(target, checkpoint, origin, data_dir)
    from fastbat.audit import diagnose_target

    found = diagnose_target(
        target, out, checkpoint, origin=origin, eps=None if eps is None else eps / 255, limit=limit, image=image,
        examples=examples, data_dir=data_dir, device=device, seed=seed, theory=theory.arguments(),
    )  # fmt: skip
    print_diagnosis(found)
    if "train_images" in found:
        print_theory(found)
    say(f"wrote {out}")


def check_diagnosis(
    *,
    eps: float | None = None,
    limit: int = 500,
    image: int | None = None,
    examples: int = 8,
    seed: int = 0,
    theory: OfTheory = OfTheory(),
    **others: Any,
) -> None:
    """Raise InputError where `fastbat diagnose` with these arguments would be refused before it opens its target."""
    if eps is not None:
        budgets_of(eps / 255)
    for name, count, least in (("limit", limit, 1), ("examples", examples, 0), ("image", image, 0)):
        if count is not None and count < least:
            raise InputError(f"{name} is {count}; it must be at least {least}")
    check_seed(seed)
    theory.arguments()
    if find_spec("matplotlib") is None:
        raise InputError("pictures need matplotlib: pip install matplotlib")


def print_diagnosis(found: Mapping[str, Any]) -> None:
    """Print the table of a diagnosis."""
    about = found["settings"]
    norms = ", ".join(f"{size:.2g}" for size in found["gradient_l2"].values())
    zeros = f"{found['zero_gradients']:.1%}, {found['zero_margin_gradients']:.1%}"
    flat = f"{found['loss_range']:.3g}, {found['loss_bend']:.3g}"
    rows = [
        ("gradient alignment (1: a linear loss)", "none" if found["ga"] is None else f"{found['ga']:.3f}"),
        ("L2 norm of the input gradient: 5 %, median, 95 %", norms),
        ("images without a gradient of CE, of the margin", zeros),
        (f"range of the loss within eps {found['eps_255']:g}/255, distance from its plane: means", flat),
        *(
            (f"withstand PGD-20 at eps {eps}/255", f"{share:.1%}")
            for eps, share in list(found["robust_share"].items())[3::4]
        ),
    ]
    print_rows(
        ("what", "value"), rows, text=("what",), title=f"{about['target']}: {found['n']} images of {about['dataset']}"
    )


def print_theory(found: Mapping[str, Any]) -> None:
    """Print the table of what was measured of Appendix E."""
    rows = []
    for row in found.get("noise", ()):
        values = f"bias {row['bias']:.3g} (without: {row['bias_error']:.2g}), variance {row['variance']:.3g}"
        rows.append(("gradient of a mini-batch", row["of"], str(row["b"]), "", values))
    for row in found.get("decay", ()):
        mean = "not finite" if row["mean_square"] is None else f"{row['mean_square']:.3g}"
        rows.append(("mean |gradient|^2", row["of"], str(row["batch"]), str(row["steps"]), mean))
    title = f"Appendix E: {found['train_images']} training images"
    print_rows(("what", "c", "images", "steps", "value"), rows, text=("what", "c", "value"), title=title)


def export_command(target: Path, file: Path, /, *, checkpoint: Checkpoint = "best") -> None:
    """Write a trained model for other programs: images in [0, 1] in, logits out.

    Parameters
    ----------
    target
        A run directory, or one of its .safetensors files.
    file
        FILE.safetensors: weights and what they are of; FILE.pt2: a torch.export program for batches of any size.
    checkpoint
        Which weights of a run directory: of the best epoch by robust validation accuracy or the last, raw or averaged.
    """
    say(f"wrote {export_model(target, file, checkpoint)}")
