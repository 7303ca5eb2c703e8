"""fastbat evaluate and fastbat export: what a run left behind, measured, or written for other programs."""

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from fastbat.cli.listing import print_json
from fastbat.errors import choose
from fastbat.evaluation import ATTACKS, Evaluation
from fastbat.progress import say
from fastbat.training import evaluate_run, export_model


def evaluate_command(
    target: Path,
    /,
    *,
    checkpoint: Literal["best", "last", "best-ema", "last-ema"] = "best",
    attacks: str = "clean,pgd",
    eps: float | None = None,
    pgd_steps: int = 50,
    pgd_restarts: int = 10,
    limit: int | None = None,
    batch_size: int = 250,
    seed: int = 0,
    data_dir: Path | None = None,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Measure how robust a trained model is, on the test images of its data set.

    Parameters
    ----------
    target
        A run directory, or one of its .safetensors files.
    checkpoint
        Which weights of a run directory: of the best epoch by robust validation accuracy or the last, raw or averaged.
    attacks
        Comma-separated: clean, pgd, aa (AutoAttack standard).
    eps
        Linf budget of the attacks on the 0-255 scale; the one trained against unless given.
    pgd_steps
        Steps of PGD, each of eps / 4.
    pgd_restarts
        Random starts of PGD.
    limit
        Only the first N test images.
    batch_size
        Images attacked at a time.
    seed
        Of the attacks' random starts.
    data_dir
        Folder with the data set; the one trained from unless given.
    device
        cpu, cuda, or auto: cuda where there is one.
    json
        Print one JSON object instead of a table.
    """
    result = evaluate_run(
        target,
        checkpoint,
        eps=None if eps is None else eps / 255,
        attacks=attack_names(attacks),
        pgd_steps=pgd_steps,
        pgd_restarts=pgd_restarts,
        limit=limit,
        batch_size=batch_size,
        seed=seed,
        data_dir=data_dir,
        device=device,
    )
    print_json(result.record()) if json else Console().print(evaluation_table(result))


def attack_names(text: str) -> list[str]:
    """Return the attacks of a comma-separated list; InputError for an unknown one."""
    return [choose("attack", name.strip(), ATTACKS) for name in text.split(",")]


def evaluation_table(result: Evaluation) -> Table:
    """Return the table of one evaluation of a checkpoint."""
    about = result.settings
    title = f"{about['checkpoint']}, epoch {about['epoch']}: eps {result.eps * 255:g}/255, {result.n} images"
    table = Table("attack", "accuracy, %", "seconds", title=title, min_width=len(title))
    for attack, accuracy in result.accuracies.items():
        table.add_row(result.label(attack), str(accuracy), f"{accuracy.seconds:.1f}")
    table.caption = "\n".join([r"\[low, high]: 95 % interval over the draw of the images", *result.warnings])
    return table


def export_command(
    target: Path,
    file: Path,
    /,
    *,
    checkpoint: Literal["best", "last"] = "best",
) -> None:
    """Write a trained model for other programs: images in [0, 1] in, logits out.

    Parameters
    ----------
    target
        A run directory, or one of its .safetensors files.
    file
        FILE.safetensors: weights and what they are of; FILE.pt2: a torch.export program for batches of any size.
    checkpoint
        Which weights of a run directory: those of the best epoch by robust validation accuracy, or of the last.
    """
    say(f"wrote {export_model(target, file, checkpoint)}")
