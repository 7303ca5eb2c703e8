"""A trained model for other programs: weights that say what they are of, or a program that needs no fastbat."""

from pathlib import Path

from fastbat.errors import InputError
from fastbat.files import as_path, replacing
from fastbat.lazy import torch
from fastbat.models import load_model, save_model
from fastbat.training.run import Run


def export_model(target: Path | str, file: Path | str, checkpoint: str = "best") -> Path:
    """Write a trained model for other programs.

    Args:
        target: a run directory, or one of its .safetensors files.
        file: a new file. FILE.safetensors: weights and metadata, as in best.safetensors. FILE.pt2: a `torch.export`
            program in eval mode, images (B, C, H, W) float32 in [0, 1] -> logits (B, K), for any B and the size
            trained on.
        checkpoint: of a run directory: best, last, best-ema or last-ema.

    Returns:
        `file`.

    Raises:
        InputError: For another ending, a file that exists, or a model without such a program.
    """
    file, target = as_path("the file", file), as_path("the target", target)
    if file.suffix not in (".safetensors", ".pt2"):
        raise InputError(f"{str(file)!r} ends in neither .safetensors (weights) nor .pt2 (a torch.export program)")
    if file.exists():
        raise InputError(f"{str(file)!r} exists already; name another file")
    model, about = load_model(Run(target).weights(checkpoint) if target.is_dir() else target)
    if file.suffix == ".safetensors":
        save_model(file, model, about)
        return file
    try:
        images = torch.zeros(2, len(about["model"]["mean"]), *about["image_size"])
        program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except KeyError as error:
        raise InputError(f"{str(target)!r} does not say its {error.args[0]}; train it with this fastbat") from error
    except Exception as error:  # what a network of others raises there is not documented
        why = str(error).strip().partition("\n")[0]
        raise InputError(f"{str(target)!r} has no torch.export program ({why}); write .safetensors") from error
    program.example_inputs = None  # they would be stored as a pickle
    with replacing(file) as out:
        torch.export.save(program, out)
    return file
