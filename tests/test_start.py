"""Starting weights: every way they are stored gives the same network; what does not fit is said before any work."""

import json
import re
from importlib import import_module

import pytest
import torch
from safetensors.torch import save_file

from fastbat import METHODS, Settings, build_model, load_model, train
from fastbat.errors import InputError
from fastbat.files import load_tensors, read_records
from fastbat.models import load_weights, save_model
from fastbat.training import Run

ARGUMENTS = {"name": "preactresnet18", "num_classes": 5, "width": 2, "mean": [0.1], "std": [0.2]}
SMALL = Settings(epochs=1, width=4, train_limit=60, select_limit=20, batch_size=30, select_steps=1)
SAVED = {
    "our file": lambda path, model: save_model(path / "best.safetensors", model, {"model": ARGUMENTS}),
    "a state_dict in safetensors": lambda path, model: save_file(model.network.state_dict(), path / "w.safetensors"),
    "with our prefix": lambda path, model: torch.save(model.state_dict(), path / "w.pth"),
    "a state_dict": lambda path, model: torch.save(model.network.state_dict(), path / "w.pt"),
    "wrapped": lambda path, model: torch.save({"state_dict": model.network.state_dict(), "epoch": 3}, path / "w.pt"),
    "of DataParallel": lambda path, model: torch.save(torch.nn.DataParallel(model).state_dict(), path / "w.pt"),
}


@pytest.fixture
def trained():
    """Return a model whose every number is drawn."""
    model = build_model(**ARGUMENTS)
    for tensor in model.network.state_dict().values():
        tensor.copy_(torch.rand_like(tensor, dtype=torch.float32) * 3)
    return model


@pytest.mark.parametrize("way", SAVED)
def test_a_network_starts_from_every_kind_of_file(way, trained, tmp_path):
    SAVED[way](tmp_path, trained)
    (file,) = tmp_path.iterdir()
    for path in (file, tmp_path) if way == "our file" else (file,):
        model = build_model(**{**ARGUMENTS, "mean": [0.7]})
        load_weights(model, path, new_head=True)
        found, wanted = model.network.state_dict(), trained.network.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
        assert model.normalize.mean.item() == pytest.approx(0.7)


def test_a_last_layer_of_other_classes_stays_random_and_that_is_said(trained, tmp_path, capsys):
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    model = build_model(**{**ARGUMENTS, "num_classes": 7})
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    load_weights(model, tmp_path / "w.pt", new_head=True)
    assert capsys.readouterr().err.endswith("w.pt: 5 classes; the last layer, linear, starts at random\n")
    for name, tensor in model.network.state_dict().items():
        source = before if name.startswith("linear.") else trained.network.state_dict()
        assert torch.equal(tensor, source[name]), name


class Trap:
    """Creates a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def without(name, state):
    return {key: tensor for key, tensor in state.items() if key != name}


BAD = {
    "missing": (lambda s, _: without("bn.bias", s), "does not fit the model: bn.bias is missing in it and (16,)"),
    "surplus": (lambda s, _: s | {"more": torch.ones(2)}, "more is (2,) in it and missing in the model"),
    "another shape": (lambda s, _: s | {"stem.weight": torch.ones(2, 3, 3, 3)}, "stem.weight is (2, 3, 3, 3) in it"),
    "another last layer": (lambda s, _: s | {"linear.weight": torch.ones(5, 9)}, "linear.weight is (5, 9) in it"),
    "code": (
        lambda s, path: s | {"trap": Trap(path / "sprung")},
        "holds io.open next to tensors, which only running code opens",
    ),
    "no state_dict": (lambda s, _: {"epoch": 3}, "holds the keys 'epoch': no state_dict"),
}


@pytest.mark.parametrize("case", BAD)
def test_weights_that_do_not_fit_are_one_line_and_change_nothing(case, trained, tmp_path):
    change, message = BAD[case]
    torch.save(change(trained.network.state_dict(), tmp_path), tmp_path / "w.pt")
    model = build_model(**ARGUMENTS)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_weights(model, tmp_path / "w.pt", new_head=True)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.pt", b"no weights", "holds no network that fastbat knows: it begins with 'no weights'"),
        ("w.safetensors", b"\x10" + 7 * b"\0" + b"{}", "is not a whole safetensors file"),
        ("w.onnx", b"no weights", "holds a program, not weights"),
        ("nowhere.pt", None, "no file "),
    ],
)
def test_training_does_not_begin_without_its_starting_weights(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        train(METHODS["standard"](), Settings(init_from=tmp_path / name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fine_tuning_begins_where_the_other_run_ended_and_resumes_without_its_file(tmp_path, monkeypatch):
    method = METHODS["fast-at"](eps=8 / 255)
    train(method, SMALL, tmp_path / "first")
    still = {**vars(SMALL), "max_lr": 1e-12, "weight_decay": 0.0, "epochs": 2}
    settings = Settings(**{**still, "init_from": tmp_path / "first"})
    run_module = import_module("fastbat.training.train")  # the package's attribute of that name is the function
    train_epoch = run_module.train_epoch

    def stopped(task, state, restore):
        if state.epoch == 1:
            raise KeyboardInterrupt
        return train_epoch(task, state, restore)

    monkeypatch.setattr(run_module, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(method, settings, tmp_path / "second")
    monkeypatch.undo()
    run = Run(tmp_path / "second")
    first, second = (load_tensors(tmp_path / name / "best.safetensors") for name in ("first", "second"))
    assert all(torch.allclose(first[0][name], tensor) for name, tensor in second[0].items())
    assert str(tmp_path) not in json.dumps(second[1])  # weights travel
    assert run.read_config()["init_from"] == str(tmp_path / "first")
    (tmp_path / "first" / "best.safetensors").unlink()
    train(method, settings, tmp_path / "second", resume=True)
    assert run.read_config()["init_from"] == str(tmp_path / "first")
    model, about = load_model(run.weights("last"))
    assert about["epoch"] == len(read_records(run.metrics)) == 2
    assert not model.training
