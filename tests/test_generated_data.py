"""Generated pictures, folders and tables: what is loaded are the pixels that were written, or one line says why not."""

import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastbat.data import load_test
from fastbat.data.picture import endings
from fastbat.errors import InputError
from fastbat.evaluation.check import gather

# Endings, the formats that Pillow writes them in, and the modes that come back from them as they were written
EXACT = {
    ".png": ("PNG", {}, ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    ".TIFF": ("TIFF", {}, ("1", "L", "P", "RGB", "CMYK", "I;16")),
    ".bmp": ("BMP", {}, ("1", "L", "RGB")),
    ".gif": ("GIF", {}, ("1", "L", "P")),
    ".pgm": ("PPM", {}, ("1", "L", "I;16")),
    ".ppm": ("PPM", {}, ("RGB",)),
    ".tga": ("TGA", {}, ("L", "P", "RGB", "RGBA")),
    ".pcx": ("PCX", {}, ("1", "L", "P", "RGB")),
    ".webp": ("WEBP", {"lossless": True, "exact": True}, ("RGB", "RGBA")),
}
LOSSY = {ending: (name, {}, ("L", "RGB")) for ending, name in ((".jfif", "JPEG"), (".JPG", "JPEG"), (".avif", "AVIF"))}
UNKNOWN_RANGE = {".tif": ("TIFF", {}, ("F", "I"))}
FORMATS = {ending: how for ending, how in (EXACT | LOSSY | UNKNOWN_RANGE).items() if ending.lower() in endings()}

WRITTEN = st.sampled_from([(ending, mode) for ending, (*_, modes) in FORMATS.items() for mode in modes])
LEVELS = st.sampled_from([(0, 255), (0, 3), (250, 255), (0, 1)])  # of 255
NAMES = st.one_of(
    st.sampled_from(
        ["x[1]", "a*b", "what?", "100%", "#2", " leading", "ünï日本", "~", "{a,b}", "..x", "-o", "'", "a\nb"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\0"), min_size=1, max_size=8),
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 100)
CHANNELS = st.sampled_from([None, 1, 3])


def drawn(mode, levels, seed, size=(4, 5)):
    """Return a random image of `mode`, and its pixels (H, W, 3) of 8 bits, or None where they have no known range."""
    rng, (low, high) = np.random.default_rng(seed), levels

    def some(*more, scale=1):
        return rng.integers(low * scale, high * scale + 1, (*size, *more))

    if mode == "1":
        bits = some() > (low + high) / 2
        return Image.fromarray(bits), np.repeat(255 * bits[..., None], 3, 2)
    if mode == "I;16":
        deep = some(scale=257)
        return Image.fromarray(deep.astype(np.uint16)), np.repeat(np.rint(deep / 257)[..., None], 3, 2)
    if mode in ("F", "I"):
        return Image.fromarray(some(scale=1000).astype({"F": np.float32, "I": np.int32}[mode])), None
    if mode == "P":
        palette, index = rng.integers(low, high + 1, (16, 3)), rng.integers(0, 16, size)
        image = Image.fromarray(index.astype(np.uint8), "L").copy()
        image.putpalette(palette.astype(np.uint8).tobytes())
        return image, palette[index]
    if mode == "CMYK":
        ink = some(4)
        ink[..., 3] = 0
        return Image.frombytes("CMYK", size[::-1], ink.astype(np.uint8).tobytes()), 255 - ink[..., :3]
    bands = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    pixels = some(bands)
    image = Image.frombytes(mode, size[::-1], pixels.astype(np.uint8).tobytes())
    return image, np.repeat(pixels[..., :1], 3, 2) if bands < 3 else pixels[..., :3]


def written(image, ending):
    name, how, _ = FORMATS[ending]
    image.save(buffer := io.BytesIO(), name, **how)
    return buffer.getvalue()


def expected(truth, data, ending, channels):
    """Return the pixels (H, W, C) that are to be loaded."""
    if ending in LOSSY:
        truth = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    truth = truth.astype(np.int64)
    if channels == 1:
        truth = ((truth @ [19595, 38470, 7471] + 0x8000) >> 16)[..., None]  # 0.299 R + 0.587 G + 0.114 B in 16 bits
    return truth


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBAT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("generated")


def loaded(name, folder, **how):
    """Return what is loaded: pixels (H, W, C) by label, or the line that refuses it."""
    try:
        images = load_test(name, folder, **how)
    except InputError as error:
        return str(error)
    pixels = images.pixels.permute(0, 2, 3, 1).numpy().astype(np.int64)
    return dict(zip(images.labels.tolist(), pixels, strict=True))


@settings(max_examples=40, deadline=None)
@given(WRITTEN, LEVELS, NAMES, NAMES, CHANNELS, st.booleans(), st.integers(0, 2**32 - 1))
def test_a_folder_gives_the_pixels_that_were_written(scratch, form, levels, name, inner, channels, littered, seed):
    ending, mode = form
    root = Path(tempfile.mkdtemp(dir=scratch)) / name
    truths = {}
    for label, cls in enumerate(("a", "b")):
        image, truth = drawn(mode, levels, seed + label)
        folder = root / "test" / cls / f"_{inner}"
        folder.mkdir(parents=True)
        (folder / f"x{inner}{ending}").write_bytes(data := written(image, ending))
        truths[label] = None if truth is None else expected(truth, data, ending, channels)
        if littered:
            (folder / f"._{inner}{ending}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
            (folder / "notes.txt").write_text("no picture")
    found = loaded("folder", root, channels=channels)
    shutil.rmtree(root)
    if ending in UNKNOWN_RANGE:
        assert f"(mode {mode}) of unknown range; save it with 8 or 16 bits" in found
        assert "\n" not in found
        return
    assert found.keys() == truths.keys()
    assert all(np.array_equal(found[label], truths[label]) for label in truths)


LABELS = {
    "int8": lambda y: pa.array(y, pa.int8()),
    "uint64": lambda y: pa.array(y, pa.uint64()),
    "int64": lambda y: pa.array(y, pa.int64()),
    "float": lambda y: pa.array(list(map(float, y))),
    "bool": lambda y: pa.array([bool(label) for label in y]),
    "string": lambda y: pa.array(list(map(str, y))),
    "dictionary": lambda y: pa.array(list(map(str, y))).dictionary_encode(),
    "list": lambda y: pa.array([[label] for label in y]),
    "one-hot": lambda y: pa.array([[int(label == k) for k in range(2)] for label in y]),
    "null": lambda y: pa.array([None, *y[1:]], pa.int64()),
}
STORED = {
    "bytes": lambda data, truth: data,
    "struct": lambda data, truth: {"bytes": data, "path": "a/b.png"},
    "nested": lambda data, truth: truth.tolist(),
    "flat": lambda data, truth: truth.ravel().tolist(),
    "path": lambda data, truth: {"bytes": None, "path": "a/b.png"},
    "text": lambda data, truth: "a/b.png",
    "nothing": lambda data, truth: None,
    "no bytes": lambda data, truth: b"",
    "too large": lambda data, truth: (truth + 256).tolist(),
    "five channels": lambda data, truth: truth.repeat(2, 2)[..., :5].tolist(),
}
FAULTS = {
    "flat": "holds no images but list<",
    "path": "row 0 ('a/b.png') of",
    "text": "holds text, such as a path or base64; store the bytes of the image files",
    "nothing": "holds no images but null",
    "no bytes": "no picture in a format that Pillow reads",
    "too large": "not in 0..255",
    "five channels": "not whole numbers (H, W)",
    "null": "has no label in 1 of 2 rows, the first in row 0",
}


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(LABELS)), st.sampled_from(sorted(STORED)), LEVELS, NAMES, CHANNELS, st.integers(0, 2**32 - 1)
)
def test_a_table_gives_the_pixels_that_were_written(scratch, labels, stored, levels, name, channels, seed):
    root = Path(tempfile.mkdtemp(dir=scratch)) / name
    root.mkdir()
    drawings = [drawn("RGB", levels, seed + label) for label in range(2)]
    truths = {label: expected(truth, b"", ".png", channels) for label, (_, truth) in enumerate(drawings)}
    rows = [STORED[stored](written(image, ".png"), truth) for image, truth in drawings]
    table = pa.table({"other": pa.array([1, 2]), "image": pa.array(rows), "label": LABELS[labels]([0, 1])})
    pq.write_table(table, root / "test.parquet")
    found = loaded("parquet", root, channels=channels)
    shutil.rmtree(root)
    if stored in FAULTS or labels not in ("int8", "int64", "uint64"):
        line = FAULTS.get(labels, "not whole numbers; number the classes from 0")
        assert isinstance(found, str)
        assert "\n" not in found
        assert FAULTS.get(stored, line) in found or line in found
        return
    assert found.keys() == truths.keys()
    assert all(np.array_equal(found[label], truths[label]) for label in truths)


SCALES = {1.0: True, 1.000001: True, 1.0001: False, 255.0: False, -1.0: False, float("nan"): False}  # fit for [0, 1]
FLOATS = {"float32": True, "float64": True, ">f4": True, "float16": False, "int64": False, "object": False}
COUNTS = {"int64": True, "uint8": True, "int32": True, ">u2": True, "float32": False, "object": False}
AS = {"numpy": lambda a: a, "backwards": lambda a: a[::-1][::-1], "torch": lambda a: torch.from_numpy(a.copy())}


@settings(max_examples=40, deadline=None)
@given(*(st.sampled_from([*kinds]) for kinds in (SCALES, FLOATS, COUNTS, AS)), st.booleans(), st.integers(0, 2**32 - 1))
def test_arrays_are_taken_for_what_they_hold_or_refused(scale, images, labels, kind, batched, seed):
    rng = np.random.default_rng(seed)
    x, y = scale * rng.integers(0, 256, (3, 1, 2, 2)) / 255, rng.integers(0, 10, 3)
    x[0, 0, 0] = scale * np.array([0, 1])
    with np.errstate(invalid="ignore"):
        x, y = x.astype(images), y.astype(labels)
    if kind == "torch" and not {images, labels}.isdisjoint({">f4", ">u2", "object"}):
        return  # torch has no such types
    pair = (AS[kind](x), AS[kind](y))
    fits = SCALES[scale] and FLOATS[images] and COUNTS[labels]
    try:
        found_x, found_y = gather([pair] if batched else pair, None)
    except InputError as error:
        assert not fits, error  # noqa: PT017
        return
    assert fits
    assert found_x.min() >= 0
    assert found_x.max() <= 1
    assert np.abs(found_x.numpy() - x.astype(float)).max() <= 1.1e-6
    assert (found_y.dtype, found_y.tolist()) == (torch.int64, y.astype(int).tolist())
