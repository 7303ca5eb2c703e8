"""Data: the pixels are the original's, the splits are where they should be, crops and flips are what they say."""

import hashlib
from itertools import islice

import numpy as np
import pytest
import sklearn.datasets
import torch
from torch.nn import functional as F

from fastbat.data import Images, Loader, View, cache, load
from fastbat.data.digits import load_digits
from fastbat.data.encoded import Encoded
from fastbat.errors import InputError

# SHA-256 of the decoded pixels, uint8, image by image as height x width x channel: those of the original CIFAR-10
CIFAR10 = {
    "train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
}


# SHA-256 over images, labels and places of the first three batches of an epoch, as the first loader made them
BATCHES = {
    ("digits", 0, False): "b4210cc838c1ca917251ca9c3272526bed161384eabc3a6db056346f42a37411",
    ("digits", 2, True): "ac6729048c4553b17cda58a0cd4f85d1eb1f3409e4353a46bc69a87ae56ef1ce",
    ("cifar10", 4, True): "735f5965d92054adcc4c3ac8174eb5eee5f60e23e5f07352460f1aa1de10cc34",
}


def images(count=20, size=6, channels=3):
    pixels = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 10, tuple("0123456789"), "made up")


def checksum(pixels):
    return hashlib.sha256(pixels.permute(0, 2, 3, 1).contiguous().numpy().tobytes()).hexdigest()


def test_cifar10_is_the_original_pixel_for_pixel(real_data):
    splits = load("cifar10", real_data)
    assert checksum(torch.cat([splits.train.pixels, splits.validation.pixels])) == CIFAR10["train"]
    assert checksum(splits.test.pixels) == CIFAR10["test"]
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (45_000, 5_000, 10_000)
    assert splits.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert splits.test.classes[3] == "cat"


def test_cifar10_is_decoded_once(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path))
    (folder := tmp_path / "a folder").mkdir()
    for split in CIFAR10:
        (folder / f"cifar10-{split}.parquet").symlink_to(real_data / "cifar10-test.parquet")
    first = load("cifar10", folder)
    monkeypatch.setattr("fastbat.data.cache._decode", lambda *_: pytest.fail("decoded again"))
    again = load("cifar10", folder)
    assert torch.equal(first.test.pixels, again.test.pixels)
    assert first.test.fingerprint == again.test.fingerprint


@pytest.mark.parametrize(("name", "pad", "flip"), BATCHES)
def test_the_batches_are_those_of_the_first_version_bit_for_bit(name, pad, flip, request):
    folder = None if name == "digits" else request.getfixturevalue("real_data")
    loader, digest = Loader(load(name, folder).train, 128, seed=0, pad=pad, flip=flip), hashlib.sha256()
    for batch in islice(loader.epoch(1), 3):
        for part in (batch.x, batch.y, batch.index):
            digest.update(part.numpy().tobytes())
    assert digest.hexdigest() == BATCHES[name, pad, flip]


@pytest.mark.parametrize("start", [1, 7, 10])
def test_an_epoch_begun_at_a_batch_is_the_rest_of_the_whole_one(start):
    loader = Loader(load("digits").train, 128, seed=3, pad=2, flip=True, rotation=10.0)
    whole, rest = list(loader.epoch(2)), list(loader.epoch(2, start))
    assert len(whole) == 10
    assert len(rest) == 10 - start
    for batch, other in zip(whole[start:], rest, strict=True):
        assert torch.equal(batch.x, other.x)
        assert torch.equal(batch.index, other.index)


def test_digits_are_split_in_order():
    splits = load("digits")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1260, 140, 397)
    assert splits.train.pixels.shape[1:] == (1, 8, 8)
    assert splits.train.pixels.max() == 255
    assert splits.train.fingerprint == load("digits").test.fingerprint


def test_digits_are_those_of_scikit_learn():
    train, test = load_digits()
    pixels, labels = (torch.cat([getattr(each, name) for each in (train, test)]) for name in ("pixels", "labels"))
    theirs = sklearn.datasets.load_digits()
    assert torch.equal(pixels[:, 0], torch.from_numpy(np.round(theirs.images * 255 / 16)).byte())
    assert labels.tolist() == theirs.target.tolist()
    assert train.classes == tuple(map(str, theirs.target_names))


@pytest.mark.parametrize(("name", "value"), [("find_spec", lambda _: None), ("FILE", "datasets/data/moved.csv.gz")])
def test_digits_that_are_not_there_are_one_line(name, value, monkeypatch):
    monkeypatch.setattr(f"fastbat.data.digits.{name}", value)
    with pytest.raises(InputError, match=r"scikit-learn with its datasets/.* is not installed; pip install -U"):
        load("digits")


@pytest.mark.parametrize("flip", [False, True])
def test_a_view_is_the_crop_and_flip_of_the_padded_image(flip):
    data = images()
    view = View.draw(np.random.default_rng(0), len(data), 2, flip)
    assert view.flip.any() == flip
    for image, top, left, flipped, seen in zip(
        data.pixels, view.top, view.left, view.flip, view.apply(data.pixels), strict=True
    ):
        crop = F.pad(image, (2, 2, 2, 2))[:, top : top + 6, left : left + 6]
        assert torch.equal(seen, crop.flip(2) if flipped else crop)


def test_every_crop_is_drawn_for_its_own_image():
    view = View.draw(np.random.default_rng(0), 1000, 4, True)
    assert set(view.top.tolist()) == set(view.left.tolist()) == set(range(9))
    assert 400 < view.flip.sum() < 600
    assert not torch.equal(view.top, view.left)


def test_an_epoch_shows_every_image_once_in_its_own_order():
    loader = Loader(images(23), batch_size=8, seed=0)
    orders = [torch.cat([batch.index for batch in loader.epoch(e)]) for e in (0, 1, 0)]
    assert loader.steps(1) == 3
    assert all(sorted(order.tolist()) == list(range(23)) for order in orders)
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])


def test_a_batch_holds_its_images_in_unit_range():
    data = images()
    batch = next(Loader(data, batch_size=5, seed=1).epoch(0))
    assert torch.equal(batch.x, data.pixels[batch.index].float() / 255)
    assert torch.equal(batch.y, data.labels[batch.index])


def test_a_single_image_left_over_joins_the_batch_before():
    for count, sizes in ((17, [8, 9]), (18, [8, 8, 2]), (1, [1]), (16, [8, 8])):
        loader = Loader(images(count), batch_size=8, seed=0)
        assert [len(batch.y) for batch in loader.epoch(0)] == sizes
        assert loader.steps(1) == len(sizes)


def test_a_damaged_cache_is_decoded_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path))
    stored = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
    rows = [(f"row {i}", pixels.tolist()) for i, pixels in enumerate(stored)]
    encoded, decoded = Encoded(rows, np.array([1, 0]), np.array([0, 1]), ("a", "b")), []
    decode = cache._decode
    monkeypatch.setattr(cache, "_decode", lambda *how: decoded.append(how) or decode(*how))
    for damage in (None, None, b"", b"\x93NUMPY", "flip"):
        (file, *_) = [*tmp_path.glob("*/pixels.npy"), None]
        if damage == "flip":
            np.save(file, np.load(file) + 1)
        elif damage is not None:
            file.write_bytes(damage)
        found = cache.cached(("key",), encoded, None)
        assert torch.equal(found.pixels, torch.from_numpy(stored[[1, 0]]).permute(0, 3, 1, 2))
    assert len(decoded) == 4  # once, and once for each damage


@pytest.mark.parametrize("name", ["pixels.npy", "labels.npy", "images.json"])
def test_no_flipped_bit_of_the_cache_is_used(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path))
    stored = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
    rows = [(f"row {i}", pixels.tolist()) for i, pixels in enumerate(stored)]
    encoded = Encoded(rows, np.array([1, 0]), np.array([0, 1]), ("ant", "bee"))
    truth = cache.cached(("key",), encoded, None)
    (file,) = tmp_path.glob(f"*/{name}")
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        altered = bytearray(whole)
        altered[place] ^= 1 << place % 8
        file.write_bytes(altered)
        found = cache.cached(("key",), encoded, None)
        assert torch.equal(found.pixels, truth.pixels)
        assert torch.equal(found.labels, truth.labels)
        assert found.classes == truth.classes == ("ant", "bee")
        assert file.read_bytes() in (whole, bytes(altered))  # as it was, or altered where it says nothing
    file.unlink()
    assert torch.equal(cache.cached(("key",), encoded, None).pixels, truth.pixels)
    assert "were cut short or altered; they are decoded again\n" in capsys.readouterr().err


def test_augmentation_belongs_to_seed_and_step():
    first, again, other = (next(Loader(images(), 5, seed, pad=2, flip=True).epoch(3)).view for seed in (0, 0, 1))
    assert torch.equal(first.top, again.top)
    assert not torch.equal(first.top, other.top)


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("digits", "here", "digits is embedded; leave it out"),
        ("cifar10", "nowhere", r"is not a folder; it should hold cifar10-train.parquet"),
        ("cifar10", "here", r"no cifar10-train\*.parquet and no train/CLASS/\*.jpg in"),
        ("cifar", "here", "unknown data set 'cifar'; did you mean 'cifar10'?"),
    ],
)
def test_data_that_are_not_to_be_had_are_an_input_error(name, folder, message, tmp_path):
    (tmp_path / "here").mkdir()
    with pytest.raises(InputError, match=message):
        load(name, tmp_path / folder)


def test_a_truncated_parquet_file_is_an_input_error(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        (tmp_path / f"cifar10-{split}.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputError, match=r"cifar10-train.parquet' cannot be read .* copy it again"):
        load("cifar10", tmp_path)
