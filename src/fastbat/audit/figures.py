"""What a diagnosis looks like: the loss around an image, and the images that broke most easily."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fastbat.errors import InputError

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
except ImportError as missing:
    raise InputError("pictures need matplotlib: pip install matplotlib") from missing


def draw_landscape(file: Path, steps: Tensor, losses: Tensor, title: str) -> None:
    """Draw losses (points, points) over the steps (points,) along r1 and r2 as a surface."""
    s = 255 * steps.cpu().numpy()
    figure = pyplot.figure(figsize=(6, 5), layout="constrained")
    axes: Any = figure.add_subplot(projection="3d")
    across, along = s[None, :].repeat(len(s), 0), s[:, None].repeat(len(s), 1)
    axes.plot_surface(along, across, losses.cpu().numpy(), cmap="viridis", linewidth=0, rstride=1, cstride=1)
    axes.set(xlabel="s / 255 (sign of gradient)", ylabel="t / 255 (random signs)", zlabel="cross-entropy")
    axes.set_box_aspect(None, zoom=0.85)
    axes.locator_params(nbins=5)
    axes.xaxis.labelpad = axes.yaxis.labelpad = 8
    axes.set_title(title)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def draw_examples(file: Path, rows: Sequence[tuple[Tensor, Tensor, str]]) -> None:
    """Draw images (C, H, W) beside their adversarial examples and the difference, each with its text."""
    figure, grid = pyplot.subplots(len(rows), 3, figsize=(6, 1.9 * len(rows)), layout="constrained", squeeze=False)
    for axes, (x, x_adv, text) in zip(grid, rows, strict=True):
        change = x_adv - x
        shown = (x, x_adv, 0.5 + 0.5 * change / change.abs().max().clamp_min(1e-12))
        for each, image in zip(axes, shown, strict=True):
            pixels = image.permute(1, 2, 0).cpu().numpy()
            each.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
            each.axis("off")
        axes[0].set_title(text, fontsize=8, loc="left")
        axes[1].set_title("adversarial", fontsize=8)
        axes[2].set_title("difference, magnified", fontsize=8)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)
