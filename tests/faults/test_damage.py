"""Forty-eight files of a run, an evaluation and the cache, damaged: each is noticed, and none is used."""

import os
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fastbat.audit import evaluate_target
from fastbat.errors import InputError
from fastbat.evaluation.journal import Journal
from fastbat.files import load_tensors, read_records, save_tensors
from fastbat.methods import METHODS
from fastbat.training import Run, Settings, train
from fastbat.training import epoch as epochs

METHOD = METHODS["fast-at"](eps=0.15)
MEASURE = {"attacks": ("clean", "pgd"), "limit": 40, "batch_size": 10, "pgd_steps": 3, "pgd_restarts": 1}
TIMES = ("seconds", "select_seconds", "images_per_second", "peak_memory_mib")


def flipped(seed):
    def flip(data):
        place = random.Random(seed).randrange(8 * len(data))
        altered = bytearray(data)
        altered[place // 8] ^= 1 << place % 8
        return bytes(altered)

    return flip


DAMAGES = {
    "truncated": lambda data: data[: len(data) * 2 // 3],
    "empty": lambda data: b"",
    **{f"bit {seed}": flipped(seed) for seed in range(3)},
}
FOREIGN = ("of another network", "of another version")  # whole, with a checksum
damages = pytest.mark.parametrize("how", DAMAGES)
all_damages = pytest.mark.parametrize("how", [*DAMAGES, *FOREIGN])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with decoded images, finished runs of two networks, a killed one, and a begun evaluation."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBAT_CACHE", str(folder / "cache"))
        for split, count in (("train", 60), ("test", 20)):
            for i in range(count):
                (place := folder / "images" / split / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)).save(place / f"{i}.png")
        settings = of(folder)
        train(METHOD, settings, folder / "whole")
        train(METHOD, replace(settings, width=6), folder / "other")
        update = epochs.update
        patch.setattr(epochs, "update", lambda *how: 1 / 0 if how[-1] == 8 else update(*how))
        with pytest.raises(ZeroDivisionError):
            train(METHOD, settings, folder / "killed")
        patch.setattr(Journal, "remove", lambda self: None)
        evaluate_target(folder / "whole", out=folder / "begun", save_adversarial=folder / "x.safetensors", **MEASURE)
        (folder / "begun" / "evaluation.jsonl").unlink()
    return folder


def of(folder):
    """Return the settings of a run on the images in a folder."""
    small = Settings(dataset="folder", epochs=3, width=4, batch_size=20, select_limit=5, select_steps=1)
    return replace(small, data_dir=folder / "images", model="cnn", checkpoint_every=1)


@pytest.fixture
def copy(made, tmp_path, monkeypatch):
    """Return a copy of them, to be damaged."""
    for name in ("cache", "whole", "other", "killed", "begun", "images"):
        shutil.copytree(made / name, tmp_path / name)
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def damage(file, how):
    if how == "of another network":
        shutil.copy(file.parents[1] / "other" / file.name.replace("step", "last"), file)
    elif how == "of another version":
        tensors, about = load_tensors(file)
        save_tensors(file, tensors, {name: value for name, value in about.items() if name not in ("model", "bests")})
    else:
        file.write_bytes(DAMAGES[how](file.read_bytes()))


def same(run, other):
    """Say whether the weights and the state of two runs are the same."""
    pairs = [(run.weights("last"), other.weights("last")), (run.weights("best"), other.weights("best"))]
    loaded = [(load_tensors(a)[0], load_tensors(b)[0]) for a, b in [*pairs, (run.state, other.state)]]
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in loaded)


def records(run):
    return [{k: v for k, v in each.items() if k not in TIMES} for each in read_records(run.metrics)]


def resumed(copy):
    return train(METHOD, of(copy), copy / "killed", resume=True)


@all_damages
@pytest.mark.parametrize("which", ["best", "last"])
def test_weights(which, how, copy):
    damage(Run(copy / "whole").weights(which), how)
    says = r"not a whole safetensors file|its checksum|was altered or damaged|is of another training .* another width;"
    with pytest.raises(InputError, match=says):
        evaluate_target(copy / "whole", which, **MEASURE)


@all_damages
@pytest.mark.parametrize("which", ["last.ckpt", "step.ckpt"])
def test_checkpoints(which, how, copy, made, capsys):
    if which == "last.ckpt":
        (copy / "killed" / "step.ckpt").unlink()
    damage(copy / "killed" / which, how)
    assert same(resumed(copy), Run(made / "whole"))
    used = "previous.ckpt" if which == "last.ckpt" else "last.ckpt"
    assert f"it is left out, and '{copy / 'killed' / used}' is used\n" in capsys.readouterr().err


@damages
def test_the_records_of_a_training(how, copy, made, capsys):
    damage(copy / "killed" / "metrics.jsonl", how)
    found, true = records(resumed(copy)), records(Run(made / "whole"))
    assert all(record in true for record in found)
    assert found == true or "has no record of epochs " in capsys.readouterr().err


@damages
def test_the_finished_blocks_of_an_evaluation(how, copy, made):
    (file,) = (copy / "begun").glob(".evaluation-*.jsonl")
    check_begun(file, how, copy, made)


def check_begun(file, how, copy, made):
    """Go on with an evaluation of which a file was damaged; it ends as the one that was not."""
    damage(file, how)
    out = copy / "y.safetensors"
    found = evaluate_target(copy / "whole", out=copy / "begun", save_adversarial=out, **MEASURE)
    true = evaluate_target(made / "whole", out=copy / "other", **MEASURE)
    assert [each.hits for each in found.accuracies] == [each.hits for each in true.accuracies]
    a, b = (load_tensors(each)[0] for each in (out, made / "x.safetensors"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@damages
@pytest.mark.parametrize("name", ["pixels.npy", "images.json"])
def test_decoded_images(name, how, copy, made, capsys):
    for file in (copy / "cache").glob(f"*/{name}"):
        damage(file, how)
    assert same(train(METHOD, of(copy), copy / "again"), Run(made / "whole"))
    said = capsys.readouterr().err
    assert "were cut short or altered; they are decoded again" in said or ("bit" in how and name == "images.json")


@pytest.mark.parametrize("name", ["pixels.npy", "labels.npy"])
def test_what_a_crash_left_in_the_cache_is_removed_when_images_are_decoded_again(name, copy):
    folder = next((copy / "cache").glob("*/pixels.npy")).parent
    (folder / f".{name}.0a1b2c3d").write_bytes(b"half of")
    os.utime(folder / f".{name}.0a1b2c3d", (0, 0))
    (folder / "images.json").unlink()
    train(METHOD, replace(of(copy), epochs=1), copy / "again")
    assert sorted(file.name for file in folder.iterdir()) == ["images.json", "labels.npy", "pixels.npy"]
