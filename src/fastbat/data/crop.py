"""An image of any size -> a square: the centre of the resized image, or a random part of it."""

import math

import numpy as np
from PIL import Image

AREA, ASPECT, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of a random-resized crop (Szegedy et al., 2015; torchvision)


def resized(image: Image.Image, size: int, how: Image.Resampling = Image.Resampling.BILINEAR) -> Image.Image:
    """Return the image with a shorter side of `size` pixels, its shape kept."""
    short, (width, height) = min(image.size), image.size
    return image if short == size else image.resize((size * width // short, size * height // short), how)


def centre(image: Image.Image, size: int, crop: int) -> Image.Image:
    """Return the `crop` x `crop` pixels in the middle of the image, resized to a shorter side of `size` >= crop."""
    image = resized(image, size)
    left, top = (round((side - crop) / 2) for side in image.size)
    return image.crop((left, top, left + crop, top + crop))


def random_part(image: Image.Image, crop: int, flip: bool, rng: np.random.Generator) -> Image.Image:
    """Return a random-resized crop of `crop` x `crop` pixels; where `flip`, mirrored half the times."""
    image = image.resize((crop, crop), Image.Resampling.BILINEAR, _box(*image.size, rng))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip and rng.random() < 0.5 else image


def _box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    for _ in range(TRIES):
        area = width * height * rng.uniform(*AREA)
        aspect = math.exp(rng.uniform(*np.log(ASPECT)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
