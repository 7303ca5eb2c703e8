"""Runs made by older versions are what they were: tests/data/run-of-COMMIT, made there by

    fastbat train --method fast-bat --dataset digits --model preactresnet18 --width 2 --epochs 2 --eps 26 \
        --precision float32 --select-steps 3 --ema 0.9 --out run-of-9d26482
    fastbat evaluate run-of-9d26482 --attacks clean,pgd --pgd-steps 5 --pgd-restarts 2 --precision float32
"""

import shutil
from pathlib import Path

import pytest
import torch

from fastbat.audit import evaluate_target
from fastbat.cli.commands import configure_command
from fastbat.cli.main import main
from fastbat.files import read_records
from fastbat.models import load_model
from fastbat.training import Run, export_model

HERE = Path(__file__).parent / "data"
OLDER = HERE / "run-of-9d26482"  # the last commit whose PreActResNets had He's shortcut alone


@pytest.fixture
def run(tmp_path):
    return Run(shutil.copytree(OLDER, tmp_path / "run"))


def test_its_network_is_the_one_it_was_trained_as(run):
    model, about = load_model(run.weights("best"))
    assert "shortcut" not in about["model"]
    assert not any(getattr(module, "raw", False) for module in model.modules())


def test_it_evaluates_to_its_recorded_numbers(run):
    before = read_records(run.evaluations)[0]
    result = evaluate_target(run.path, pgd_steps=5, pgd_restarts=2, precision="float32", device="cpu")
    for accuracy, recorded in zip(result.accuracies, before["accuracies"], strict=True):
        assert accuracy.n == recorded["n"]
        assert abs(accuracy.hits - recorded["hits"]) <= 1  # last bits differ from processor to processor


def test_it_is_repeated_as_it_was(run):
    method, settings = configure_command(["train", "--config", str(run.config), "--out", "again"])
    assert (settings.shortcut, settings.width, type(method).__name__) == ("preact", 2, "FastBAT")


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")  # torch 2.9, of its own loading
def test_it_can_be_exported_and_resumed(run, tmp_path):
    exported = export_model(run.path, tmp_path / "m.pt2")
    x = torch.rand(3, 1, 8, 8)
    there = torch.export.load(exported).module()(x)
    assert torch.allclose(there, load_model(run.weights("best"))[0](x), atol=1e-5)
    main(["train", "--out", str(run.path), "--resume"])
    assert [record["epoch"] for record in read_records(run.metrics)] == [1, 2]


@pytest.mark.parametrize(
    ("flag", "value", "was"), [("--eps", "8", "eps 26"), ("--method", "fast-at", "method fast-bat")]
)
def test_its_numbers_are_not_taken_over_where_they_follow_from_something_else(flag, value, was, run, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--config", str(run.config), flag, value, "--out", str(tmp_path / "again")])
    assert stop.value.code == 2
    line = f"was written by an older version, with numbers that belong to {was}; for {flag[2:]} {value} start from"
    assert line in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
