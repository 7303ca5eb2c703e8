"""The images that break most easily: each beside the change and the adversarial image, with what the model says."""

from collections.abc import Sequence
from typing import Any

from fastbat.lazy import np
from fastbat.report.colour import png
from fastbat.report.landscape import name_of
from fastbat.results.read import Look

MOST, SIDE = 8, 96  # examples of a model; pixels of a picture's side, larger ones are averaged
LESS, MORE, SAME = (10, 92, 168), (180, 83, 9), (246, 246, 242)


def examples(looks: Sequence[Look]) -> list[dict[str, Any]]:
    """Return the examples of each closer look that kept some."""
    return [
        {"name": name_of(look), "shown": [example(look, k) for k in range(min(MOST, len(look.easiest["index"])))]}
        for look in looks
        if len(look.easiest.get("index", ()))
    ]


def example(look: Look, k: int) -> dict[str, Any]:
    """Return one example as the template shows it."""
    kept, classes = look.easiest, look.classes

    def named(number: Any) -> str:
        return classes[int(number)] if int(number) < len(classes) else str(int(number))

    x, x_adv = small(kept["x"][k]), small(kept["x_adv"][k])
    return {
        "label": named(kept["label"][k]),
        "index": int(kept["index"][k]),
        "eps": f"{255 * float(kept['smallest_eps'][k]):.4g}",
        "says": [named(kept["says"][k]), f"{100 * float(kept['sure'][k]):.0f}"],
        "says_adv": [named(kept["says_adv"][k]), f"{100 * float(kept['sure_adv'][k]):.0f}"],
        "png": png(pixels(x)),
        "png_adv": png(pixels(x_adv)),
        "png_change": png(change(x, x_adv)),
    }


def small(image: Any) -> Any:
    """Return an image (C, H, W) whose sides have at most SIDE pixels, the mean of blocks."""
    step = -(-max(image.shape[1:]) // SIDE)
    if step == 1:
        return image
    height, width = (side // step * step for side in image.shape[1:])
    blocks = image[:, :height, :width].reshape(len(image), height // step, step, width // step, step)
    return blocks.mean((2, 4))


def pixels(image: Any) -> Any:
    """Return an image (C, H, W) in [0, 1] as bytes (H, W, 3); one channel becomes ink on paper."""
    if len(image) == 1:
        image = np.repeat(1 - 0.84 * image, 3, 0)
    return (255 * image[:3].clip(0, 1)).round().astype(np.uint8).transpose(1, 2, 0)


def change(x: Any, x_adv: Any) -> Any:
    """Return the mean change of the channels as a picture: darker blue, brighter orange, none the page."""
    step = (x_adv - x).mean(0)
    share = step / max(float(np.abs(x_adv - x).max()), 1e-9)
    ends = np.where((share > 0)[..., None], np.array(MORE), np.array(LESS))
    mixed = np.array(SAME) + (ends - np.array(SAME)) * np.abs(share)[..., None]
    return mixed.clip(0, 255).round().astype(np.uint8)
