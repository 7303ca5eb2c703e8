"""A trained model leaves as weights or as a program, and networks of others go the whole way with it."""

import json
import re
import sys
from zipfile import ZipFile

import pytest
import torch

from fastbat import METHODS, InputError, Settings, export_model, load_model, train
from fastbat.audit import evaluate_target
from fastbat.cli import main
from fastbat.files import load_tensors, save_tensors

SMALL = Settings(epochs=1, width=3, train_limit=60, select_limit=20, batch_size=30, select_steps=1)
OWN = """
import torch
from torch import nn

def net(num_classes):
    seen = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    return nn.Sequential(seen, nn.Flatten(), nn.Linear(144, num_classes))

class Pair(nn.Linear):
    def forward(self, x): return super().forward(x.flatten(1)), x

def pair(num_classes): return Pair(64, num_classes)
def too_many(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes + 1))
def wrong_size(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(100, num_classes))
def flat(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Hardsigmoid(), nn.Linear(9, num_classes))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Put the user's module `mine` into the working folder."""
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("mine", None)


def small(name):
    return Settings(**{**vars(SMALL), "model": name, "width": None if ":" in name else SMALL.width})


@pytest.mark.parametrize("name", ["cnn", "preactresnet18", "mine:net"])
def test_an_exported_program_gives_the_same_logits_for_any_batch(name, tmp_path, own):
    run = train(METHODS["fast-bat"](eps=8 / 255), small(name), tmp_path / "run")
    assert export_model(run.path, tmp_path / "m.pt2", "last") == tmp_path / "m.pt2"
    with ZipFile(tmp_path / "m.pt2") as file:
        assert all(entry.file_size == 0 for entry in file.infolist() if entry.filename.endswith(".pt"))  # no pickle
    program = torch.export.load(tmp_path / "m.pt2").module()
    model, _ = load_model(run.weights("last"))
    for size in (1, 5):
        x = torch.rand(size, 1, 8, 8)
        with torch.no_grad():
            assert torch.allclose(program(x), model(x), atol=1e-6, rtol=0)


def test_exported_weights_are_the_checkpoint_and_can_be_evaluated_and_exported_again(tmp_path, capsys):
    run = train(METHODS["fast-at"](eps=8 / 255), SMALL, tmp_path / "run")
    main(["export", str(run.path), str(tmp_path / "m.safetensors")])
    assert f"wrote {tmp_path / 'm.safetensors'}" in capsys.readouterr().err.replace("\n", "")
    there, here = load_tensors(tmp_path / "m.safetensors"), load_tensors(run.weights("best"))
    assert there[1] == here[1]
    assert there[0].keys() == here[0].keys()
    assert all(torch.equal(there[0][name], tensor) for name, tensor in here[0].items())
    one, other = (evaluate_target(target, limit=20, pgd_steps=1) for target in (run.path, tmp_path / "m.safetensors"))
    assert one.sa.hits == other.sa.hits
    export_model(tmp_path / "m.safetensors", tmp_path / "m.pt2")
    assert (tmp_path / "m.pt2").stat().st_size > 0


def test_weights_of_before_these_settings_are_still_read(tmp_path):
    run = train(METHODS["fast-at"](eps=8 / 255), SMALL, tmp_path / "run")
    tensors, about = load_tensors(run.weights("best"))
    old = {key: value for key, value in about.items() if key != "image_size"}
    old["model"] = {key: value for key, value in about["model"].items() if key not in ("stem", "dropout")}
    save_tensors(tmp_path / "old.safetensors", tensors, old)
    model, found = load_model(tmp_path / "old.safetensors")
    assert found == json.loads(json.dumps(old))
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(InputError, match=r"old.safetensors' does not say its image_size"):
        export_model(tmp_path / "old.safetensors", tmp_path / "m.pt2")


@pytest.mark.parametrize(
    ("target", "file", "message"),
    [
        ("run", "m.onnx", "m.onnx' ends in neither .safetensors (weights) nor .pt2 (a torch.export program)"),
        ("run", "run", "run' ends in neither"),
        ("run", "there.pt2", "there.pt2' exists already; name another file"),
        ("nowhere", "m.pt2", "no file "),
        ("there.pt2", "m.pt2", "is not a whole safetensors file"),
    ],
)
def test_a_bad_export_is_one_line_with_status_2(target, file, message, tmp_path, capsys):
    (tmp_path / "there.pt2").write_text("something")
    with pytest.raises(SystemExit) as stop:
        main(["export", str(tmp_path / target), str(tmp_path / file)])
    err = capsys.readouterr().err
    assert (stop.value.code, err.count("\n")) == (2, 1)
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["there.pt2"]


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        (
            "mine:pair",
            "standard",
            "the model returns tuple for 8 images in eval mode; expected logits (8, 10): wrap it",
        ),
        ("mine:too_many", "fast-at", "the model returns (8, 11) for 8 images; expected logits (8, 10)"),
        ("mine:wrong_size", "fast-at", "mat1 and mat2 shapes cannot be multiplied (8x64 and 100x10)"),
        (
            "mine:flat",
            "fast-bat",
            "FastBAT cannot train this model on images (8, 1, 8, 8): RuntimeError: derivative for",
        ),
    ],
)
def test_a_network_that_cannot_be_trained_is_said_before_anything_is_written(name, method, message, tmp_path, own):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        train(METHODS[method](**({} if method == "standard" else {"eps": 8 / 255})), small(name), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_another_model_takes_the_settings_of_its_own_from_a_configuration(tmp_path, own, capsys):
    run = train(METHODS["standard"](), SMALL, tmp_path / "run")
    again = ["train", "--config", str(run.config), "--model", "mine:net", "--out", str(tmp_path / "again")]
    main(again)
    assert "width" not in (tmp_path / "again" / "config.toml").read_text()
    main([*again[:-3], "preactresnet18", "--out", str(tmp_path / "third")])
    assert load_model(tmp_path / "third" / "best.safetensors")[1]["model"]["width"] == 3  # which was given
