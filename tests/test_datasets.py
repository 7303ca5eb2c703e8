"""Data sets of all kinds: real ones in part, folders of images, tables with their own columns, and streams."""

import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision import transforms

from conftest import percent
from fastbat import evaluate
from fastbat.audit import evaluate_target
from fastbat.cli import main
from fastbat.data import DATASETS, Images, Loader, Phase, Stream, View, dataset_card, load
from fastbat.data.batch import rotated
from fastbat.data.crop import AREA, ASPECT, _box, random_part
from fastbat.data.images import mean_and_std
from fastbat.data.share import Shares
from fastbat.errors import InputError
from fastbat.files import load_tensors, read_records, save_tensors
from fastbat.methods import METHODS
from fastbat.models import build_model
from fastbat.randomness import generator
from fastbat.runtime.precision import has_bf16
from fastbat.training import Settings, train

SMALL_PHASES = (Phase(1 / 2, 40, 24, 2), Phase(1, None, 32, 1))
TINY = {"epochs": 2, "width": 4, "batch_size": 8, "select_limit": 5, "select_steps": 1, "model": "cnn"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))


def picture(key, width, height, mode="RGB"):
    """Return a smooth random image, so that JPEG keeps it nearly as it is."""
    small = generator(7, key).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def image_folder(root, counts, sizes=((40, 30), (30, 50), (36, 36))):
    """Write CLASS/NUMBER.jpg of differing sizes; `counts` maps split to images a class."""
    for split, count in counts.items():
        for label, name in enumerate(("cat", "ant", "bee")):
            (folder := root / split / name).mkdir(parents=True)
            for i in range(count):
                key = 1000 * label + 100 * len(split) + i
                picture(key, *sizes[i % len(sizes)], "L" if i == 1 else "RGB").save(folder / f"{i:03}.JPEG")
    return root


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """ImageNet's layout with a few small images, and phases to match."""
    monkeypatch.setitem(DATASETS, "imagenet", replace(DATASETS["imagenet"], phases=SMALL_PHASES))
    return image_folder(tmp_path / "photographs", {"train": 8, "val": 3})


def encoded(image):
    image.save(buffer := io.BytesIO(), "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def table(folder, name, labels, *, image="image", label="label", size=8, features=None):
    folder.mkdir(exist_ok=True)
    columns = {image: [encoded(picture(i, size, size)) for i in range(len(labels))], label: labels}
    datasets.Dataset.from_dict(columns, features).to_parquet(folder / name)
    return folder


def part_of(real_data, folder, name, train, test, test_split="test"):
    """Copy the first rows of a real data set."""
    folder.mkdir()
    for split, rows in (("train", train), (test_split, test)):
        rows_there = pq.read_table(real_data / f"{name}-{split}.parquet").slice(0, rows)
        pq.write_table(rows_there, folder / f"{name}-{split}.parquet")
    return folder


def loader(splits, batch_size, seed=0, epochs=1):
    card = splits.card
    return Loader(splits.train, batch_size, seed, card.pad, card.flip, card.rotation, card.phases, epochs)


def stored(folder, name):
    """Return pixels and labels of a parquet file, read without fastbat."""
    rows = pq.read_table(folder / name).to_pylist()
    pixels = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")) for row in rows]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), [row["label"] for row in rows]


# The paper's data sets


def test_cifar100_is_read_in_order_and_rotated(real_data, tmp_path):
    folder = part_of(real_data, tmp_path / "part", "cifar100", 200, 50)
    splits = load("cifar100", folder)
    pixels, labels = stored(folder, "cifar100-train.parquet")
    assert torch.equal(torch.cat([splits.train.pixels, splits.validation.pixels]), pixels)
    assert splits.train.labels.tolist() + splits.validation.labels.tolist() == labels
    assert (len(splits.test), len(splits.test.classes), splits.test.classes[0]) == (50, 100, "apple")
    assert (splits.card.pad, splits.card.flip, splits.card.rotation) == (4, True, 15)
    angle = next(loader(splits, 128, 0, 1).epoch(0)).view.angle
    assert angle.abs().max() <= 15
    assert angle.min() < -10
    assert angle.max() > 10


def test_tiny_imagenet_is_mixed_and_tested_on_its_validation_images(real_data, tmp_path):
    folder = part_of(real_data, tmp_path / "part", "tiny-imagenet-20", 150, 60, test_split="val")
    splits = load("tiny-imagenet", folder)
    pixels, labels = stored(folder, "tiny-imagenet-20-train.parquet")
    order = generator("mixed", 150).permutation(150)
    assert torch.equal(torch.cat([splits.train.pixels, splits.validation.pixels]), pixels[order])
    assert splits.validation.labels.tolist() == np.array(labels)[order][135:].tolist()
    assert (len(splits.test), splits.test.pixels.shape[1:], len(splits.test.classes)) == (60, (3, 64, 64), 20)
    assert splits.card.pad == 4


def test_the_published_recipe_of_imagenet():
    """ImageNet/configs/configs_fast_2px_phase{1,2,3}.yml of locuslab/fast_adversarial, 1,281,167 training images."""
    stream = Stream(None, torch.zeros(1_281_167), ("a",), "none", workers=0)
    made = Loader(stream, 128, 0, phases=DATASETS["imagenet"].phases, epochs=15)
    found = [(made.phase(e).resize, made.phase(e).crop, made.cuts(e)[0]) for e in range(15)]
    assert found == [(160, 128, 512)] * 6 + [(352, 224, 224)] * 6 + [(None, 288, 128)] * 3
    assert made.steps(7) - made.steps(6) == math.ceil(1_281_167 / 224)
    rates = [(round(15 * when), 0.4 * rate) for when, rate in DATASETS["imagenet"].rates]
    assert rates == [(0, 0), (1, 0.4), (6, pytest.approx(0.04)), (12, pytest.approx(0.004)), (15, pytest.approx(4e-4))]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_process_decodes_its_share_of_streamed_images(workers, photographs):
    """Of six processes some have none of a batch."""
    splits = load("imagenet", photographs, workers=workers)
    how = loader(splits, 4, epochs=4)
    shared = [list(replace(how, shares=Shares(rank, 6)).epoch(0)) for rank in range(6)]
    assert 0 in [len(batch.y) for batches in shared for batch in batches]
    for whole, *cut in zip(how.epoch(0), *shared, strict=True):
        assert sum(len(batch.y) for batch in cut) == len(whole.y)
        for batch in cut:
            assert torch.equal(batch.y, whole.y[batch.share.place])
            assert not len(batch.y) or torch.equal(batch.x, whole.x[batch.share.place])


# Rotation


def test_a_rotation_is_that_of_pil():
    """All but a few pixels: PIL works out their places in fixed point, with 16 bits behind the point."""
    x = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    angles = torch.from_numpy(np.random.default_rng(0).uniform(-180, 180, 20))
    for image, angle, seen in zip(x, angles.tolist(), rotated(x, angles), strict=True):
        truth = Image.fromarray(image.permute(1, 2, 0).numpy()).rotate(angle)
        assert (seen.permute(1, 2, 0).numpy() != np.asarray(truth)).any(2).sum() <= 5


def test_right_angles_turn_exactly():
    x = torch.rand(3, 2, 6, 6)
    quarter, none, half = rotated(x, torch.tensor([90.0, 0.0, 180.0], dtype=torch.float64))
    assert torch.equal(quarter, x[0].rot90(1, (1, 2)))
    assert torch.equal(none, x[1])
    assert torch.equal(half, x[2].rot90(2, (1, 2)))


def test_a_rotation_comes_after_crop_and_flip_and_changes_neither():
    x = torch.randint(0, 256, (8, 3, 10, 10), dtype=torch.uint8)
    plain, turned = (View.draw(generator(1), 8, 2, True, rotation) for rotation in (0, 15))
    assert torch.equal(plain.top, turned.top)
    assert torch.equal(plain.flip, turned.flip)
    assert torch.equal(turned.apply(x), rotated(plain.apply(x), turned.angle))
    with pytest.raises(InputError, match="a rotated view has no inverse"):
        turned.put(torch.zeros(8, 3, 14, 14), torch.zeros(8, 3, 10, 10))


# Folders of images


def test_a_folder_of_jpegs_of_all_sizes(tmp_path):
    folder = image_folder(tmp_path / "animals", {"train": 10, "test": 2})
    splits = load("folder", folder, image_size=16)
    assert splits.train.classes == ("ant", "bee", "cat")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (27, 3, 6)
    assert sorted(splits.test.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    everything = sorted(torch.cat([splits.train.labels, splits.validation.labels]).tolist())
    assert everything == [0] * 10 + [1] * 10 + [2] * 10
    assert (splits.card.pad, splits.card.flip, splits.card.rotation) == (2, True, 0)
    x = splits.train.pixels.double() / 255
    assert splits.card.mean == pytest.approx(x.mean((0, 2, 3)).tolist(), abs=1e-5)
    assert splits.card.std == pytest.approx(x.std((0, 2, 3), correction=0).tolist(), abs=1e-5)


def test_the_middle_of_the_resized_image_is_what_torchvision_cuts_out(tmp_path):
    folder = image_folder(tmp_path / "animals", {"train": 10, "test": 3})
    cut = transforms.Compose([transforms.Resize(20), transforms.CenterCrop(20)])
    files = [folder / "test" / name / f"{i:03}.JPEG" for name in ("ant", "bee", "cat") for i in range(3)]
    found = load("folder", folder, image_size=20).test.pixels
    for i, row in enumerate(generator("mixed", 9).permutation(9)):
        truth = np.asarray(cut(Image.open(files[row]).convert("RGB")))
        assert np.array_equal(found[i].permute(1, 2, 0).numpy(), truth)


def test_a_folder_without_a_test_split_gives_up_its_last_tenth(tmp_path):
    folder = image_folder(tmp_path / "animals", {"train": 20})
    splits, again = (load("folder", where, image_size=16) for where in (folder, str(folder)))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (49, 5, 6)
    assert torch.equal(splits.test.pixels, again.test.pixels)
    assert len(splits.test.labels.unique()) > 1  # no class by class order is left


def test_a_photograph_is_turned_upright(tmp_path):
    folder = image_folder(tmp_path / "animals", {"train": 7, "test": 1}, sizes=((20, 20),))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    lying = Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3))
    lying.save(folder / "test" / "ant" / "000.png", exif=exif)
    (folder / "test" / "ant" / "000.JPEG").unlink()
    splits = load("folder", folder)
    (found,) = splits.test.pixels[splits.test.labels == 0]
    assert np.array_equal(found.permute(1, 2, 0).numpy(), np.rot90(np.asarray(lying), -1))


def test_a_folder_that_changed_is_decoded_anew(tmp_path):
    folder = image_folder(tmp_path / "animals", {"train": 7, "test": 1}, sizes=((20, 20),))
    before = load("folder", folder).test
    picture(99, 20, 20).save(folder / "test" / "ant" / "000.JPEG")
    assert load("folder", folder).test.fingerprint != before.fingerprint


def test_a_class_more_numbers_the_images_of_every_split_anew(tmp_path):
    folder = image_folder(tmp_path / "animals", {"train": 7, "test": 2}, sizes=((20, 20),))
    before = load("folder", folder).test
    shutil.copytree(folder / "train" / "bee", folder / "train" / "ape")  # between ant and bee; test has none
    after = load("folder", folder).test
    assert (before.labels.tolist().count(3), after.labels.tolist().count(3)) == (0, 2)
    assert after.fingerprint != before.fingerprint


def spoil_sizes(folder):
    return r"images differ in size, \[\d+, \d+\] and \[\d+, \d+\]; give all one: --image-size"


def spoil_image(folder):
    (folder / "train" / "bee" / "004.JPEG").write_bytes(b"\xff\xd8\xff and then nothing")
    return r"train/bee/004.JPEG' cannot be read: no picture in a format that Pillow reads; fix it or take it out"


def cut_image(folder):
    file = folder / "train" / "bee" / "004.JPEG"
    file.write_bytes(file.read_bytes()[:-40])
    return r"train/bee/004.JPEG' cannot be read \(OSError: image file is truncated.*\); fix it or take it out"


def spoil_class(folder):
    shutil.copytree(folder / "train" / "bee", folder / "test" / "fly")
    return r"test/fly' is no class of the training images; take it out"


def empty_class(folder):
    (folder / "train" / "dog").mkdir()
    return r"train/dog' holds no images; take it out"


def no_train(folder):
    (folder / "train").rename(folder / "training")
    return r"no train\*.parquet and no train/CLASS/\*.jpg in"


@pytest.mark.parametrize("spoil", [spoil_sizes, spoil_image, cut_image, spoil_class, empty_class, no_train])
def test_a_folder_with_a_fault_is_one_line(spoil, tmp_path):
    folder = image_folder(tmp_path / "animals", {"train": 7, "test": 2})
    message = spoil(folder)
    with pytest.raises(InputError, match=message) as error:
        load("folder", folder, image_size=None if spoil is spoil_sizes else 16)
    assert "\n" not in str(error.value)


def test_a_folder_is_trained_and_evaluated_from_the_command_line(tmp_path, capsys):
    folder = image_folder(tmp_path / "animals", {"train": 10, "test": 3})
    run, moved = tmp_path / "run", tmp_path / "elsewhere"
    how = (
        "--image-size 16 --model cnn --width 4 --epochs 1 --batch-size 8 --select-limit 3 --select-steps 2 --flip=false"
    )
    call("train", "--dataset", "folder", "--data-dir", folder, "--out", run, *how.split(), "--rotation", 10)
    measure = ("--attacks", "clean,pgd", "--pgd-steps", 2, "--pgd-restarts", 1, "--json")
    capsys.readouterr()
    call("evaluate", run, "--checkpoint", "last", *measure)
    (moved / "run").mkdir(parents=True)
    shutil.copy(run / "last.safetensors", moved / "run")
    folder.rename(moved / "animals")
    call("evaluate", moved / "run" / "last.safetensors", "--data-dir", moved / "animals", *measure)
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["n"] == 9
    assert [percent(first, attack) for attack in ("clean", "pgd")] == [percent(second, a) for a in ("clean", "pgd")]
    assert first["settings"]["fingerprint"] == second["settings"]["fingerprint"]
    _, about = load_tensors(run / "last.safetensors")
    assert (about["config"]["image_size"], about["config"]["flip"], about["config"]["rotation"]) == (16, False, 10)
    assert about["model"]["mean"] == list(load("folder", moved / "animals", image_size=16).card.mean)
    assert str(tmp_path) not in json.dumps(about)


def call(*tokens):
    main([str(token) for token in tokens])


# Tables


def test_a_table_with_columns_of_its_own(tmp_path):
    labels = [i % 2 for i in range(30)]
    table(tmp_path / "t", "train.parquet", labels, image="picture", label="kind")
    table(tmp_path / "t", "validation-0.parquet", labels[:4], image="picture", label="kind")
    splits = load("parquet", tmp_path / "t", image_column="picture", label_column="kind")
    assert (len(splits.train), len(splits.test), splits.test.classes) == (27, 4, ("0", "1"))
    order = generator("mixed", 4).permutation(4)
    truth = np.stack([np.asarray(picture(int(i), 8, 8)) for i in order])
    assert np.array_equal(splits.test.pixels.permute(0, 2, 3, 1).numpy(), truth)


def test_plain_bytes_are_images_too(tmp_path):
    (tmp_path / "t").mkdir()
    rows = {"photo": [encoded(picture(i, 8, 8))["bytes"] for i in range(20)], "labels": [i % 2 for i in range(20)]}
    for split in ("train", "test"):
        datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "t" / f"{split}.parquet")
    assert load("parquet", tmp_path / "t", image_column="photo").test.pixels.shape == (20, 3, 8, 8)


TABLES = {
    "no such column": (
        {"image_column": "photo"},
        [0, 1] * 10,
        r"no photo column among image, label of '.*/train.parquet'; name the one: --image-column",
    ),
    "no label": (
        {"label_column": "kind"},
        [0, 1] * 10,
        r"no kind column among image, label of '.*/train.parquet'; name the one: --label-column",
    ),
    "no images": (
        {"image_column": "label"},
        [0, 1] * 10,
        r"column 'label' of '.*/train.parquet' holds no images but int64; name the one: --image-column",
    ),
    "text": (
        {},
        ["cat", "dog"] * 10,
        r"column 'label' of '.*/train.parquet' holds string, not whole numbers; number the classes from 0",
    ),
    "a gap": ({}, [0, 2] * 10, "parquet has training labels 0..2 for 2 classes; number them from 0 on"),
    "from one": ({}, [1, 2] * 10, "parquet has training labels 1..2 for 2 classes"),
    "below zero": ({}, [-1, 0] * 10, "parquet has training labels -1..0 for 2 classes"),
    "too few": ({}, [0, 1] * 4, "8 images are too few to set a tenth of them aside"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_with_a_fault_is_one_line(case, tmp_path):
    how, labels, message = TABLES[case]
    for split in ("train", "test"):
        table(tmp_path / "t", f"{split}.parquet", labels)
    with pytest.raises(InputError, match=message):
        load("parquet", tmp_path / "t", **how)


def test_splits_that_do_not_fit_each_other_are_one_line(tmp_path):
    labels = [0, 1] * 10
    for split, size, top in (("train", 8, 1), ("test", 8, 2), ("valid", 9, 1)):
        table(tmp_path / split, f"{split}.parquet", [min(i, top) for i in range(3)] + labels, size=size)
    for other, message in (
        ("test", "has test labels 0..2 for 2 classes"),
        ("valid", r"training images are \[8, 8\], test"),
    ):
        folder = tmp_path / f"with {other}"
        folder.mkdir()
        for split in ("train", other):
            shutil.copy(tmp_path / split / f"{split}.parquet", folder)
        with pytest.raises(InputError, match=message):
            load("parquet", folder)
    table(tmp_path / "train", "flowers-train.parquet", labels)
    with pytest.raises(InputError, match="holds several data sets"):
        load("parquet", tmp_path / "train")


def test_a_data_set_of_the_hub_by_its_name(tmp_path, monkeypatch):
    names = datasets.Features(img=datasets.Image(), label=datasets.ClassLabel(names=["no", "yes"]))
    rows = {"img": [encoded(picture(i, 8, 8)) for i in range(20)], "label": [0, 1] * 10}
    split = datasets.Dataset.from_dict(rows, names)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict(train=split, valid=split))
    splits = load("someone/flowers")
    assert (len(splits.train), len(splits.test), splits.test.classes) == (18, 20, ("no", "yes"))
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict(test=split))
    with pytest.raises(InputError, match=r"no train\*.parquet and no train/CLASS/\*.jpg in 'someone/flowers'"):
        load("someone/flowers")
    with pytest.raises(InputError, match=r"no cifar100-train\*.parquet .* in 'uoft-cs/cifar100'"):
        load("cifar100")


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("folder", {}, "folder is read from a folder of yours; name it with --data-dir"),
        ("parquet", {}, "parquet is read from a folder of yours; name it with --data-dir"),
        ("digits", {"image_size": 8}, "image_size is '8', but digits is embedded; leave it out"),
        ("imagenet", {"image_size": 64}, "image_size is '64', but imagenet is streamed; leave it out"),
        ("imagenet", {"pad": 4}, "pad is '4', but imagenet is streamed; leave it out"),
        ("foldr", {}, "unknown data set 'foldr'; did you mean 'folder'?"),
    ],
)
def test_what_a_data_set_cannot_use_is_refused(name, how, message):
    with pytest.raises(InputError, match=message):
        load(name, **how)


@pytest.mark.parametrize(("setting", "value"), [("pad", -1), ("rotation", -1.0), ("image_size", 0), ("workers", -1)])
def test_a_setting_out_of_range_is_refused(setting, value):
    with pytest.raises(InputError, match=f"{setting} is"):
        Settings(**{setting: value})


def test_augmentation_is_the_settings_where_they_say_so():
    card = load("digits", pad=2, flip=True, rotation=5.0).card
    assert (card.pad, card.flip, card.rotation) == (2, True, 5.0)
    assert dataset_card("someone/flowers").hub == "someone/flowers"


def test_a_constant_channel_is_divided_by_one():
    pixels = torch.zeros(4, 2, 3, 3, dtype=torch.uint8)
    pixels[:, 1] = torch.tensor([0, 255, 255])
    assert mean_and_std(pixels) == ((0.0, 0.666667), (1.0, 0.471405))


# Streams


def test_the_number_of_workers_changes_no_image(photographs, monkeypatch):
    seen = []
    monkeypatch.setattr("fastbat.data.stream.CORES", 2)
    for workers in (0, 1, 2):
        splits = load("imagenet", photographs, workers=workers)
        seen.append([batch for epoch in (0, 1) for batch in loader(splits, 4, 0, 2).epoch(epoch)])
    assert [tuple(batch.x.shape) for batch in seen[0]] == [(8, 3, 24, 24)] * 2 + [(6, 3, 24, 24)] + [
        (4, 3, 32, 32)
    ] * 5 + [(2, 3, 32, 32)]
    for batch, *others in zip(*seen, strict=True):
        assert all(torch.equal(batch.x, other.x) and torch.equal(batch.y, other.y) for other in others)
    assert sorted(torch.cat([batch.index for batch in seen[0][:3]]).tolist()) == list(range(22))
    splits = load("imagenet", photographs)
    assert all(torch.equal(batch.y, splits.train.labels[batch.index]) for batch in seen[0])


def test_a_stream_begun_at_a_batch_is_the_rest_of_the_whole_one(photographs):
    splits = load("imagenet", photographs, workers=1)
    whole = list(loader(splits, 4, 0, 2).epoch(1))
    for start in range(len(whole) + 1):
        rest = list(loader(splits, 4, 0, 2).epoch(1, start))
        assert [tuple(batch.index.tolist()) for batch in rest] == [tuple(b.index.tolist()) for b in whole[start:]]
        assert all(torch.equal(batch.x, other.x) for batch, other in zip(whole[start:], rest, strict=True))


def test_a_signal_to_all_processes_of_a_job_stops_its_training_between_two_updates(photographs, tmp_path):
    flags = {"dataset": "imagenet", "data_dir": photographs, "workers": 1, "method": "standard", **TINY, "epochs": 2000}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    command = [sys.executable, "-m", "fastbat", "train", *words, f"--out={tmp_path / 'run'}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as child:
        said = [next(child.stderr) for _ in range(3)]  # after the first epoch at the latest
        os.killpg(child.pid, signal.SIGTERM)
        said += child.stderr.readlines()
    assert child.returncode == 143, said
    assert said[-1].startswith("fastbat: stopped in epoch "), said


LEAVES = """
import sys
from pathlib import Path
from fastbat.data import Loader, load

found = load("imagenet", Path(sys.argv[1]), workers=1)
batches = Loader(found.train, 4, 0, found.card.pad, found.card.flip, 0.0, found.card.phases, 1).epoch(0)
print(len(next(batches).y) < len(found.train))
"""


def test_a_program_that_leaves_in_the_middle_of_a_stream_ends(photographs):
    """A worker heeds no signal but its parent's, which ends it."""
    command = [sys.executable, "-c", LEAVES, str(photographs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_another_epoch_and_another_seed_cut_other_crops(photographs):
    splits = load("imagenet", photographs)
    (first, *_), (second, *_), (other, *_) = (
        list(loader(splits, 32, seed, 4).epoch(epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))
    )
    assert not torch.equal(first.x[first.index.argsort()], second.x[second.index.argsort()])
    assert not torch.equal(first.x[first.index.argsort()], other.x[other.index.argsort()])


def test_streamed_images_are_evaluated_as_torchvision_would(photographs):
    cut = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    test = load("imagenet", photographs, workers=1).test
    files = [photographs / "val" / name / f"{i:03}.JPEG" for name in ("ant", "bee", "cat") for i in range(3)]
    order = generator("mixed", 9).permutation(9)
    found = test.slice(2, 7).decoded()
    assert (found.pixels.dtype, found.pixels.shape) == (torch.uint8, (5, 3, 224, 224))
    assert found.labels.tolist() == [row // 3 for row in order[2:7]]
    for pixels, row in zip(found.pixels, order[2:7], strict=True):
        truth = np.asarray(cut(Image.open(files[row]).convert("RGB")))
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), truth)


@pytest.mark.parametrize("size", [(40, 30), (31, 200), (200, 31), (1, 1)])
def test_a_random_part_lies_in_the_image_and_has_its_share(size):
    rng, (width, height) = np.random.default_rng(0), size
    for _ in range(200):
        left, top, right, bottom = _box(width, height, rng)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        w, h = right - left, bottom - top
        assert (w + 1) * (h + 1) >= AREA[0] * width * height or max(size) > 4 * min(size)
        assert (w - 1) / (h + 1) <= ASPECT[1]
        assert (w + 1) / max(h - 1, 1e-9) >= ASPECT[0]
    mirrored = [random_part(picture(0, *size), 8, flip=True, rng=np.random.default_rng(i)) for i in range(2)]
    assert all(image.size == (8, 8) for image in mirrored)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_spoilt_image_in_a_stream_is_one_line_that_names_it(workers, photographs):
    (photographs / "train" / "bee" / "004.JPEG").write_bytes(b"\xff\xd8\xff and then nothing")
    splits = load("imagenet", photographs, workers=workers)
    with pytest.raises(InputError, match=r"train/bee/004.JPEG' cannot be read") as error:
        list(loader(splits, 4, 0, 1).epoch(0))
    assert "\n" not in str(error.value)


def test_training_and_evaluation_on_a_stream(photographs, tmp_path):
    settings = Settings(dataset="imagenet", data_dir=photographs, workers=1, **TINY)
    run = train(METHODS["fast-at"](eps=2 / 255), settings, tmp_path / "run")
    assert [record["val_n"] for record in read_records(run.metrics)] == [2, 2]
    result = evaluate_target(run.path, "last", attacks=["clean", "pgd"], limit=4, pgd_steps=1, pgd_restarts=1)
    assert (result.n, result.settings["precision"]) == (4, "bf16" if has_bf16(torch.device("cpu")) else "float32")
    _, about = load_tensors(run.weights("last"))
    assert about["model"]["mean"] == [0.485, 0.456, 0.406]
    again = train(METHODS["fast-at"](eps=2 / 255), replace(settings, workers=0), tmp_path / "again")
    weights, others = (load_tensors(which.weights("last"))[0] for which in (run, again))
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize(("method", "message"), [("free-at", "images that change size"), ("atta", "not on a stream")])
def test_a_method_whose_memory_a_stream_would_break_is_refused_before_training(method, message, photographs, tmp_path):
    settings = Settings(dataset="imagenet", data_dir=photographs, workers=0, **TINY)
    with pytest.raises(InputError, match=message):
        train(METHODS[method](eps=2 / 255), settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_atta_is_refused_with_rotation_and_goes_without(tmp_path):
    settings = Settings(**{**TINY, "epochs": 1}, train_limit=20)
    with pytest.raises(InputError, match="train it with --rotation 0"):
        train(METHODS["atta"](eps=0.1), replace(settings, rotation=15.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(METHODS["atta"](eps=0.1), replace(settings, rotation=0.0), tmp_path / "run")
    train(METHODS["free-at"](eps=0.1), replace(settings, rotation=15.0), tmp_path / "rotated")


def test_a_jpeg_that_is_decoded_smaller_is_large_enough(photographs):
    encoded = load("imagenet", photographs).train.encoded
    for i in range(8):
        (width, height), (full, _) = encoded.open(i, at_least=10).size, encoded.open(i).size
        assert min(width, height) >= 10
        assert width < full


# Evaluation


def test_an_evaluation_of_bytes_is_that_of_floats():
    test = load("digits").test
    model = build_model("cnn", width=4, mean=(0.3,), std=(0.4,))
    how = {"eps": 0.1, "attacks": ["clean", "pgd"], "pgd_steps": 3, "pgd_restarts": 2, "limit": 50}
    bytes_, floats = (evaluate(model, data, **how) for data in (test, test.tensors()))
    assert (bytes_.sa.hits, bytes_.ra_pgd.hits) == (floats.sa.hits, floats.ra_pgd.hits)
    assert bytes_.settings["precision"] in ("float32", "bf16")


def test_weights_from_before_there_were_columns_are_evaluated(tmp_path):
    run = train(METHODS["standard"](), Settings(**{**TINY, "epochs": 1}, train_limit=20), tmp_path / "run")
    tensors, about = load_tensors(run.weights("last"))
    del about["config"]["workers"]
    save_tensors(tmp_path / "old.safetensors", tensors, about)
    assert evaluate_target(tmp_path / "old.safetensors", eps=0.1, attacks=["clean"], limit=5).n == 5


def test_images_and_streams_have_the_same_interface(photographs):
    for splits in (load("digits"), load("imagenet", photographs)):
        part = splits.train.slice(3, 5).to(torch.device("cpu"))
        x, y = part.tensors()
        assert isinstance(part.decoded(), Images)
        assert (len(part), len(x), len(y)) == (2, 2, 2)
        assert (part.classes, part.fingerprint) == (splits.train.classes, splits.train.fingerprint)
        assert torch.equal(y, splits.train.labels[3:5])
    assert Loader(load("digits").train, 100, 0).steps(3) == 39
