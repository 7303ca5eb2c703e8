"""Pictures as people have them: deep, grey, of any ending, in odd tables; nothing is lost in silence."""

import errno
import io
import json
import os
import re
import shutil
import struct
import sys
import zlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fastbat.audit import Origin, evaluate_target
from fastbat.data import DATASETS, Images, content, load, load_test, tables
from fastbat.data.check import check_not_blank, check_published
from fastbat.data.crop import centre
from fastbat.data.picture import endings, picture
from fastbat.errors import InputError
from fastbat.files import load_tensors
from fastbat.methods import METHODS
from fastbat.models import build_model
from fastbat.randomness import generator
from fastbat.training import Settings, train
from test_datasets import SMALL_PHASES, call, image_folder, loader, part_of

DEEP = np.array([[0, 100, 128, 129, 385, 386, 32767, 65278, 65535]], dtype=np.uint16)
TINY = {"epochs": 1, "width": 4, "batch_size": 8, "select_limit": 5, "select_steps": 1, "model": "cnn"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))


def saved(image, form, **how):
    image.save(buffer := io.BytesIO(), form, **how)
    return buffer.getvalue()


def tiff(bits, pixels, width, white=1):
    """Return a TIFF of one grey row of `bits` bits a pixel, packed in the bytes `pixels`."""
    tags = {
        256: width,
        257: 1,
        258: bits,
        259: 1,
        262: white,
        273: 8 + 2 + 9 * 12 + 4,
        277: 1,
        278: 1,
        279: len(pixels),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + pixels


def pictures(root, make, counts=(("train", 10), ("test", 2)), classes=("ant", "bee"), ending="png"):
    """Write CLASS/NUMBER.ENDING; `make(key)` is the content of a file."""
    for split, count in counts:
        for label, name in enumerate(classes):
            (folder := root / split / name).mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.{ending}").write_bytes(make(100 * label + 10 * len(split) + i))
    return root


def colour(key, size=8):
    return Image.fromarray(np.random.default_rng(key).integers(0, 256, (size, size, 3)).astype(np.uint8))


def png(key):
    return saved(colour(key), "PNG")


def table(file, keys, labels=None, images=None, **more):
    """Write a parquet file of pictures."""
    file.parent.mkdir(parents=True, exist_ok=True)
    images = images or [{"bytes": png(key), "path": f"{key}.png"} for key in keys]
    labels = labels or [i % 2 for i in range(len(images))]
    pq.write_table(pa.table({"image": images, "label": labels, **more}), file)
    return file


# Bit depth


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_of_grey_are_rounded_to_eight(form):
    found = np.asarray(picture(saved(Image.fromarray(DEEP), form), "it"))
    assert found[..., 0].tolist() == [[0, 0, 0, 1, 1, 2, 127, 254, 255]]
    assert (found == found[..., :1]).all()


def test_a_tiff_of_twelve_bits_is_scaled_by_its_own_depth():
    found = picture(tiff(12, bytes.fromhex("000fff800400"), 4), "it", channels=1)  # 0, 4095, 2048, 1024
    assert np.asarray(found).tolist() == [[0, 255, 128, 64]]


def test_sixteen_bits_of_colour_lose_their_lower_eight():
    """Pillow has no such mode, and writes none: a PNG of one pixel, 0x1280, 0xff00, 0x00ff, by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = zlib.compress(bytes.fromhex("00" + "1280ff0000ff"))
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    assert np.asarray(picture(whole, "it")).tolist() == [[[0x12, 0xFF, 0x00]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(Image.fromarray(DEEP.astype(np.float32)), "TIFF"), r"it holds floats \(mode F\) of unknown range; save"),
        (saved(Image.fromarray(DEEP.astype(np.int32)), "TIFF"), r"it holds 32-bit or signed numbers \(mode I\)"),
        (tiff(16, DEEP.tobytes(), 9, white=0), "it has 16 bits with 0 for white, which Pillow reads as black"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it cannot be read: no picture in a format that Pillow reads"),
        (None, "it holds no picture; put one there or take it out"),
    ],
)
def test_a_picture_of_unknown_range_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        picture(content, "it")


def test_a_picture_that_states_a_huge_size_is_refused_before_it_has_memory():
    """As a bomb does: a hundred bytes whose header says 60,000 x 60,000 pixels, which are 11 GB."""
    data = saved(Image.new("RGB", (8, 8)), "PNG")
    place = data.index(b"IHDR")
    head = b"IHDR" + struct.pack(">II", 60_000, 60_000) + data[place + 12 : place + 17]
    bomb = data[:place] + head + struct.pack(">I", zlib.crc32(head)) + data[place + 21 :]
    with pytest.raises(InputError, match=r"a.png cannot be read \(DecompressionBombError: .*\); fix it or take it out"):
        picture(bomb, "a.png")


def test_a_deep_picture_is_turned_upright_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    found = picture(saved(Image.fromarray(DEEP), "PNG", exif=exif), "it", channels=1)
    assert np.asarray(found).tolist() == [[level] for level in [0, 0, 0, 1, 1, 2, 127, 254, 255]]


@pytest.mark.parametrize(("level", "shown"), [((255, 255, 255), "255, 255, 255"), ((0, 9, 0), "0, 9, 0")])
def test_a_data_set_of_one_value_is_refused(level, shown, tmp_path):
    folder = pictures(tmp_path / "blank", lambda key: saved(Image.new("RGB", (8, 8), level), "PNG"))
    run = tmp_path / "run"
    with pytest.raises(InputError, match=f"every pixel of the 18 training images of folder is {shown} of 255; look at"):
        train(METHODS["fast-at"](eps=0.1), Settings(dataset="folder", data_dir=folder, **TINY), run)
    assert not run.exists()
    good = pictures(tmp_path / "good", png)
    run = train(METHODS["fast-at"](eps=0.1), Settings(dataset="folder", data_dir=good, **TINY), run)
    with pytest.raises(InputError, match=f"every pixel of the 4 test images of folder is {shown} of 255"):
        evaluate_target(run.path, data_dir=folder)
    check_not_blank(load("folder", good).train, "images")


def test_a_data_set_that_uses_few_of_its_bits_is_reported(tmp_path, capsys):
    for bits, said in ((8, True), (12, True), (16, False)):
        rng = np.random.default_rng(bits)
        deep = [rng.integers(0, 2**bits, (8, 8)).astype(np.uint16) for _ in range(4)]
        folder = pictures(tmp_path / f"{bits}", lambda key, deep=deep: saved(Image.fromarray(deep[key % 4]), "PNG"))
        load("folder", folder, channels=1)
        brightest = round(max(map(np.max, deep)) / 257)
        line = f"no pixel is brighter than {brightest} of 255; do the picture files use all bits they have?\n"
        assert capsys.readouterr().err == said * line


# Endings, and files that are no pictures


def test_every_ending_that_pillow_reads_is_read(tmp_path):
    forms = {"gif": "GIF", "jfif": "JPEG", "webp": "WEBP", "JPE": "JPEG", "jp2": "JPEG2000", "dib": "DIB", "tga": "TGA"}
    forms |= {"avif": "AVIF"} if ".avif" in endings() else {}
    for i, (ending, form) in enumerate(forms.items()):
        for name in ("ant", "bee"):
            (folder := tmp_path / "test" / name).mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.{ending}").write_bytes(saved(colour(i), form))
    assert len(load_test("folder", tmp_path)) == 2 * len(forms)


def test_other_endings_and_hidden_names_are_counted_in_one_line(tmp_path, capsys):
    folder = pictures(tmp_path / "mac", png, classes=("ant", "bee", "cat"))
    clean = load("folder", folder)
    for inner in [folder / "train", *(folder / "train").iterdir()]:
        (inner / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (inner / "._0.png").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    for inner in (folder / "train", folder / "train" / "ant", folder / "train" / "ant" / "deep"):
        (inner / ".ipynb_checkpoints").mkdir(parents=True)
        (inner / ".ipynb_checkpoints" / "0-checkpoint.png").write_bytes(png(0))
    (folder / "train" / "ant" / "labels.csv").write_text("x")
    (folder / "train" / "bee" / "1.heic").write_text("x")
    (folder / "train" / "bee" / "2.HEIC").write_text("x")
    (folder / "train" / "bee" / "README").write_text("x")
    (folder / "train" / "stray.png").write_bytes(png(0))
    (folder / "train" / "bee" / "more").symlink_to(folder / "test")
    capsys.readouterr()
    littered = load("folder", folder)
    assert (littered.train.fingerprint, littered.train.classes) == (clean.train.fingerprint, ("ant", "bee", "cat"))
    (line,) = capsys.readouterr().err.splitlines()
    counts = "11 hidden (a leading dot), 2 .heic, 1 outside of the class folders, 1 .csv, 1 linked folders, 1 no ending"
    assert line.startswith(f"{str(folder / 'train')!r}: left out ")
    assert sorted(line.split("left out ")[1].split(", ")) == sorted(counts.split(", "))


def test_a_class_of_other_endings_names_them(tmp_path):
    folder = pictures(tmp_path / "phone", lambda key: b"x", ending="heic")
    with pytest.raises(InputError, match=r"train/ant' holds no images but 10 \.heic; convert them or take it out"):
        load("folder", folder)


def test_hidden_tables_are_skipped(tmp_path):
    for split in ("train", "test"):
        table(tmp_path / ".data" / f"{split}.parquet", range(20))
    before = load("parquet", tmp_path / ".data")
    (tmp_path / ".data" / "._train.parquet").write_bytes(b"\0\5\26\7")
    table(tmp_path / ".data" / ".old" / "x-train.parquet", range(3))
    assert load("parquet", tmp_path / ".data").train.fingerprint == before.train.fingerprint


def test_a_link_to_nowhere_is_one_line(tmp_path):
    folder = pictures(tmp_path / "links", png)
    (folder / "train" / "ant" / "zz.png").symlink_to("/nowhere/x.png")
    with pytest.raises(InputError, match=r"train/ant/zz.png' cannot be read: No such file or directory; check that"):
        load("folder", folder)


def test_a_class_may_be_a_link_but_not_one_to_nowhere(tmp_path):
    folder = pictures(tmp_path / "links", png)
    before = load("folder", folder).train.fingerprint
    ant = (folder / "train" / "ant").rename(tmp_path / "elsewhere")
    (folder / "train" / "ant").symlink_to(ant)
    assert load("folder", folder).train.fingerprint == before
    ant.rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"train/ant' is a link to '.*/elsewhere', which is not there; fix it\Z"):
        load("folder", folder)


# Grey


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_network_of_one_channel_is_trained_and_evaluated(mode, tmp_path):
    folder = pictures(tmp_path / "grey", lambda key: saved(colour(key).convert(mode), "PNG"))
    run = tmp_path / "run"
    how = "--method fast-at --model cnn --width 4 --epochs 1 --batch-size 8 --select-limit 2 --select-steps 1"
    call("train", "--dataset", "folder", "--data-dir", folder, "--out", run, *how.split(), "--channels", 1)
    result = evaluate_target(run, attacks=["clean"])
    test, splits = load_test("folder", folder, channels=1), load("folder", folder, channels=1)
    assert (result.n, result.settings["fingerprint"]) == (4, test.fingerprint)
    written = [np.asarray(colour(100 * label + 40 + i).convert("L")).tolist() for label in (0, 1) for i in (0, 1)]
    assert sorted(test.pixels[:, 0].tolist()) == sorted(written)
    _, about = load_tensors(run / "last.safetensors")
    assert tuple(about["model"]["mean"]) == splits.card.mean
    assert splits.card.mean == pytest.approx((splits.train.pixels.double().mean().item() / 255,), abs=1e-5)


def test_a_network_of_others_that_takes_grey_images_is_measured_on_them(tmp_path, capsys):
    folder, file = pictures(tmp_path / "grey", lambda key: saved(colour(key).convert("L"), "PNG")), tmp_path / "w.pt"
    torch.save(build_model("cnn", width=4, num_classes=2, mean=[0.0], std=[1.0]).state_dict(), file)
    origin = Origin(dataset="folder", model="cnn", width=4)
    with pytest.raises(InputError):
        evaluate_target(file, origin=origin, data_dir=folder, eps=0.1, attacks=["clean"])
    assert "all images are grey, read as RGB; --channels 1 reads one channel" in capsys.readouterr().err
    found = evaluate_target(file, origin=replace(origin, channels=1), data_dir=folder, eps=0.1, attacks=["clean"])
    assert found.n == 4


def test_a_stream_is_read_in_grey(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "imagenet", replace(DATASETS["imagenet"], phases=SMALL_PHASES))
    folder = image_folder(tmp_path / "photographs", {"train": 8, "val": 3})
    splits = load("imagenet", folder, channels=1)
    assert (splits.train.channels, splits.card.mean, splits.card.std) == (1, (0.459,), (0.226,))
    assert {batch.x.shape[1] for batch in loader(splits, 4).epoch(0)} == {1}
    assert splits.test.decoded().pixels.shape == (9, 1, 224, 224)


def test_channels_are_one_or_three(tmp_path):
    folder = pictures(tmp_path / "plain", png)
    with pytest.raises(InputError, match="channels is 2; it must be 1, grey, or 3, RGB"):
        load("folder", folder, channels=2)
    with pytest.raises(InputError, match="channels is 3, but digits is grey; leave it out"):
        load("digits", channels=3)
    assert load("digits", channels=1).train.channels == 1


# Tables


def test_the_content_of_a_table_decides_whatever_its_time_and_size(tmp_path):
    for level in (b"\x00", b"\xff"):
        for split in ("train", "test"):
            pixels = [saved(Image.frombytes("L", (2, 2), level + bytes([0, 9, i])), "BMP") for i in range(20)]
            file = table(tmp_path / "t" / f"{split}.parquet", (), images=pixels)
            os.utime(file, (0, 0))
        splits = load("parquet", tmp_path / "t")
        assert (splits.train.pixels[:, 0, 0, 0] == level[0]).all()
        assert (load_test("parquet", tmp_path / "t").pixels[:, 0, 0, 0] == level[0]).all()


def test_what_a_data_set_is_made_of_is_known_by_its_content_wherever_it_lies(tmp_path):
    first = pictures(tmp_path / "first", lambda key: saved(colour(key), "BMP"), ending="bmp")
    moved = shutil.copytree(first, tmp_path / "moved")
    assert content("folder", first) == content("folder", moved)
    other = bytearray((moved / "test" / "bee" / "1.bmp").read_bytes())
    other[-1] ^= 255
    (moved / "test" / "bee" / "1.bmp").write_bytes(other)  # one pixel of the test split, in a file of the same size
    found = [content("folder", first), content("folder", moved)]
    (moved / "train" / "ant").rename(moved / "train" / "cow")
    (moved / "test" / "ant").rename(moved / "test" / "cow")
    found += [content("folder", moved), content("digits", None)]
    for labels in ([0, 1], [1, 0]):
        for split in ("train", "test"):
            table(tmp_path / "t" / f"{split}.parquet", (), labels * 10, [png(i) for i in range(20)])
        found.append(content("parquet", tmp_path / "t"))
    assert len(set(found)) == len(found)
    with pytest.raises(InputError, match=r"no train\*.parquet and no train/CLASS"):
        content("folder", tmp_path / "moved" / "train" / "bee")


def test_a_streamed_table_is_copied_once_and_anew_when_it_was_replaced(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "imagenet", replace(DATASETS["imagenet"], phases=SMALL_PHASES))
    written = []
    for key in (0, 500, 500):
        for split, count in (("train", 10), ("val", 3)):
            file, images = tmp_path / "t" / f"{split}-0.parquet", range(key, key + count)
            if key != 500 or len(written) < 2:
                pixels = [saved(colour(each, 40), "BMP") for each in images]
                table(file, (), images=pixels)
                os.utime(file, (0, 0))
        splits = load("imagenet", tmp_path / "t", workers=1)
        order = generator("mixed", 3).permutation(3)
        truth = np.stack([np.asarray(centre(colour(key + row, 40), 256, 224)) for row in order])
        assert np.array_equal(splits.test.decoded().pixels.permute(0, 2, 3, 1).numpy(), truth)
        assert sum(len(batch.y) for batch in loader(splits, 8).epoch(0)) == 9
        written.append(sorted((tmp_path / "cache").glob("*.arrow")))
    assert [len(files) for files in written] == [2, 4, 4]


def test_no_altered_row_of_a_copy_is_used(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "imagenet", replace(DATASETS["imagenet"], phases=SMALL_PHASES))
    for split, count in (("train", 10), ("val", 3)):
        table(tmp_path / "t" / f"{split}-0.parquet", (), images=[saved(colour(i, 40), "BMP") for i in range(count)])
    load("imagenet", tmp_path / "t", workers=0).test.decoded()
    file = min((tmp_path / "cache").glob("*.arrow"), key=lambda each: each.stat().st_size)
    data, pixels = file.read_bytes(), saved(colour(1, 40), "BMP")
    place = data.index(pixels) + len(pixels) - 5
    file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    tables._mapped.cache_clear()
    says = re.escape(f"row 1 of {str(file)!r} was altered; delete it: it is a copy, and is made again")
    with pytest.raises(InputError, match=says):
        load("imagenet", tmp_path / "t", workers=0).test.decoded()
    file.unlink()
    tables._mapped.cache_clear()
    assert len(load("imagenet", tmp_path / "t", workers=0).test.decoded()) == 3


def test_tables_and_folders_need_no_other_library_and_no_copy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # an import of it is an error
    for split in ("train", "test"):
        table(tmp_path / "t" / f"{split}.parquet", range(20))
    assert len(load("parquet", tmp_path / "t").train) == 18
    assert len(load("folder", pictures(tmp_path / "f", png)).train) == 18
    assert {file.name for file in (tmp_path / "cache").glob("*/*")} == {"images.json", "labels.npy", "pixels.npy"}


def test_shards_may_have_other_columns_types_and_no_rows(tmp_path):
    folder = tmp_path / "t"
    table(folder / "train-0.parquet", range(15), extra=list(range(15)))
    pq.write_table(
        pq.read_table(table(folder / "train-1.parquet", range(15, 30))).slice(0, 0), folder / "train-2.parquet"
    )
    shard = pq.read_table(folder / "train-1.parquet")
    pq.write_table(shard.set_column(1, "label", shard["label"].cast(pa.uint8())), folder / "train-1.parquet")
    table(folder / "test.parquet", range(4))
    splits = load("parquet", folder)
    stored = torch.cat([splits.train.pixels, splits.validation.pixels]).permute(0, 2, 3, 1).numpy()
    truth = np.stack([np.asarray(colour(key)) for key in generator("mixed", 30).permutation(30)])
    assert np.array_equal(stored, truth)


def named(names):
    about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    return {b"huggingface": json.dumps(about).encode()}


def other_names(folder):
    for i, names in enumerate((["a", "b"], ["b", "a"])):
        file = table(folder / f"test-{i}.parquet", range(2))
        pq.write_table(pq.read_table(file).replace_schema_metadata(named(names)), file)
    return r"test-1.parquet' names other classes than '.*/test-0.parquet'; give them the same"


def no_rows(folder):
    for i in range(2):
        file = table(folder / f"test-{i}.parquet", range(2))
        pq.write_table(pq.read_table(file).slice(0, 0), file)
    return r"^'.*/test-0.parquet', '.*/test-1.parquet' holds no rows; fill it or take it out$"


def no_such_column(folder):
    table(folder / "test-0.parquet", range(2))
    file = table(folder / "test-1.parquet", range(2))
    pq.write_table(pq.read_table(file).rename_columns(["photo", "label"]), file)
    return r"no image column among photo, label of '.*/test-1.parquet'; name the one: --image-column"


def cut_short(folder):
    file = table(folder / "test-0.parquet", range(2))
    file.write_bytes(file.read_bytes()[:-50])
    return r"test-0.parquet' cannot be read \(ArrowInvalid: .*\); copy it again"


def nowhere(folder):
    folder.mkdir()
    (folder / "test.parquet").symlink_to("/nowhere")
    return r"test.parquet' cannot be read: No such file or directory; check that it is there, and its rights"


@pytest.mark.parametrize("spoil", [other_names, no_rows, no_such_column, cut_short, nowhere])
def test_a_shard_with_a_fault_is_named(spoil, tmp_path):
    message = spoil(tmp_path / "t")
    with pytest.raises(InputError, match=message):
        load_test("parquet", tmp_path / "t")


# What cannot be written


def test_a_cache_that_cannot_be_written_names_its_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "file" / "cache"))
    folder = pictures(tmp_path / "plain", png)
    with pytest.raises(InputError, match=r"kept in '.*/file/cache/\w+': Not a directory; .* FASTBAT_CACHE$"):
        load("folder", folder)
    monkeypatch.setitem(DATASETS, "imagenet", replace(DATASETS["imagenet"], phases=SMALL_PHASES))
    for split in ("train", "val"):
        table(tmp_path / "t" / f"{split}.parquet", range(20))
    with pytest.raises(InputError, match=r"kept in '.*/file/cache': Not a directory; .* FASTBAT_CACHE$"):
        load("imagenet", tmp_path / "t")


def test_a_full_disk_names_the_variable_of_the_cache(tmp_path, monkeypatch):
    folder = pictures(tmp_path / "plain", png)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr("fastbat.data.cache.np.save", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(InputError, match=r"kept in '.*': No space left on device; name another folder: FASTBAT_CACHE"):
        load("folder", folder)


def test_a_home_of_the_hub_that_cannot_be_written_names_its_variable(monkeypatch):
    import datasets

    def denied(name):
        raise RuntimeError("while preparing") from PermissionError(errno.EACCES, "Permission denied", "/home/x/.cache")

    monkeypatch.setattr(datasets, "load_dataset", denied)
    message = "someone/flowers cannot be kept in '/home/x/.cache': Permission denied; .* written: HF_HOME"
    with pytest.raises(InputError, match=message):
        load("someone/flowers")


# Images that are not what they are called


def test_one_class_is_refused(tmp_path):
    with pytest.raises(InputError, match="all training images of folder are of one class, 'ant'; give it at least two"):
        load("folder", pictures(tmp_path / "one", png, classes=("ant",)))
    for split in ("train", "test"):
        table(tmp_path / "t" / f"{split}.parquet", range(20), labels=[0] * 20)
    with pytest.raises(InputError, match="all training images of parquet are of one class, '0'"):
        load("parquet", tmp_path / "t")


def test_a_data_set_that_is_not_the_one_named_is_refused(tmp_path):
    folder = pictures(tmp_path / "own", png)
    with pytest.raises(
        InputError, match="2 classes, not 100: this is not cifar100; name what it is, such as --dataset f"
    ):
        load("cifar100", folder)
    with pytest.raises(InputError, match="the images have 2 classes, not 10: this is not cifar10"):
        load_test("cifar10", folder)
    ten = pictures(tmp_path / "ten", png, classes=tuple("abcdefghij"))
    with pytest.raises(InputError, match="the images have 8 x 8 pixels, not 32 x 32: this is not cifar10"):
        load("cifar10", ten)
    assert load("cifar10", ten, image_size=32).train.pixels.shape[1:] == (3, 32, 32)


def test_another_mean_than_the_published_is_said(capsys):
    card, labels = DATASETS["cifar10"], torch.arange(400) % 10
    names, rng = tuple("abcdefghij"), np.random.default_rng(0)
    for shift, said in ((0, False), (30, True)):  # of 255
        level = 255 * np.array(card.mean)[:, None, None] + shift + 30 * rng.standard_normal((400, 1, 1, 1))
        pixels = (level + 40 * rng.standard_normal((400, 3, 32, 32))).clip(0, 255).astype(np.uint8)
        check_published("cifar10", card, Images(torch.from_numpy(pixels), labels, names, ""))
        line = capsys.readouterr().err
        assert ("may not be the images of cifar10" in line) == said


@pytest.mark.parametrize(("name", "file", "split"), [("cifar10", "cifar10", "test"), ("cifar100", "cifar100", "test"),
                                                     ("tiny-imagenet", "tiny-imagenet-20", "val")])  # fmt: skip
def test_the_real_data_sets_are_what_they_are_called(name, file, split, real_data, tmp_path, capsys):
    assert len(load_test(name, part_of(real_data, tmp_path / "part", file, 1, 300, split)).labels) == 300
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("some/folder", "'some/folder' lies on this disk; read it with --dataset folder .* --data-dir some/folder"),
        ("photos", "data set 'photos' lies on this disk; a folder is read with --dataset folder"),
        ("./photos", "data set './photos' lies on this disk; a folder is read with"),
        ("/nowhere/photos", "data set '/nowhere/photos' is no OWNER/NAME of the hub; a folder is read with"),
        ("a/b/c", "data set 'a/b/c' is no OWNER/NAME of the hub"),
    ],
)
def test_a_path_is_no_name_of_the_hub(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("some/folder", "photos"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(InputError, match=message):
        load(name)


def test_classes_called_by_numbers_say_their_order(tmp_path, capsys):
    names = ("0", "1", "10", "11", "2", "3")
    splits = load("folder", pictures(tmp_path / "numbers", png, classes=names[::-1]))
    assert splits.train.classes == names
    line = "the classes are numbered in the order of their names as text: '10' is class 2\n"
    assert capsys.readouterr().err == line
    load("folder", pictures(tmp_path / "padded", png, classes=("00", "01", "10")))
    assert capsys.readouterr().err == ""
