"""Protocols: what paper and released code say differently is filled in, and only where nothing is given."""

import io
import re
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastbat.audit import evaluate_target
from fastbat.cli.commands import configure_command
from fastbat.cli.main import main
from fastbat.data import load
from fastbat.data.registry import load_test
from fastbat.files import read_toml
from fastbat.models import build_model
from fastbat.randomness import generator
from fastbat.training import Run
from fastbat.training.prepare import decayed
from fastbat.training.protocol import PROTOCOLS
from fastbat.training.settings import under

DOCS = Path(__file__).parents[1] / "docs"


def configured(*flags):
    return resolved("--dataset", "cifar10", *flags)


def resolved(*flags):
    """Return method and settings of a command line with what follows from them."""
    method, settings = configure_command(["train", *flags])
    return under(settings.protocol, method), settings.resolved(method)


@pytest.mark.parametrize(
    ("flags", "lam", "peak", "selection"),
    [
        (("--eps", "16"), 255 / 2500, None, (10, 1, 1000)),
        (("--eps", "16", "--protocol", "released"), 255 / 2000, 0.8, (50, 10, 0)),
        (("--eps", "8", "--protocol", "released"), 255 / 5000, 0.8, (50, 10, 0)),
        (("--eps", "2", "--protocol", "paper"), 255 / 3000, None, (10, 1, 1000)),
        (("--eps", "2", "--protocol", "released"), 255 / 5000, 0.8, (50, 10, 0)),
    ],
)
def test_a_protocol_fills_in_what_is_not_given(flags, lam, peak, selection):
    method, settings = configured(*flags)
    assert method.resolved["lam"] == pytest.approx(lam, rel=1e-9)
    assert settings.momentum_at_peak == peak
    assert (settings.select_steps, settings.select_restarts, settings.select_limit) == selection
    assert (settings.momentum, settings.weight_decay, settings.epochs) == (0.9, 5e-4, 20)


def test_what_is_given_wins():
    given = [
        "--momentum-at-peak",
        "0.85",
        "--select-steps",
        "3",
        "--select-restarts",
        "2",
        "--select-limit",
        "77",
        "--validation",
        "train",
    ]
    for protocol in PROTOCOLS:
        method, settings = configured("--protocol", protocol, "--lam", "paper", "--eps", "16", *given)
        assert method.resolved["lam"] == pytest.approx(255 / 2500)
        assert settings.momentum_at_peak == 0.85
        assert (settings.select_steps, settings.select_restarts, settings.select_limit) == (3, 2, 77)
        assert settings.validation == "train"
    assert configured("--protocol", "released", "--momentum", "0.5")[1].momentum_at_peak == 0.5


def test_imagenet_follows_the_published_recipe_in_both():
    for protocol in PROTOCOLS:
        _, settings = resolved("--dataset", "imagenet", "--eps", "2", "--protocol", protocol)
        assert (settings.epochs, settings.weight_decay, settings.decay_batchnorm) == (15, 1e-4, False)


def test_without_decay_of_batchnorm_its_weights_are_a_group_of_their_own():
    model = build_model("preactresnet18", width=2)
    rest, free = decayed(model, False)
    norms = [w for layer in model.modules() if isinstance(layer, nn.BatchNorm2d) for w in layer.parameters()]
    assert {id(w) for w in free["params"]} == {id(w) for w in norms}
    assert {id(w) for group in (rest, free) for w in group["params"]} == {id(w) for w in model.parameters()}
    assert (free["weight_decay"], rest.keys()) == (0.0, {"params"})
    assert len(decayed(model, True)) == 1


def test_what_a_file_gives_stays_under_another_protocol_and_the_rest_follows(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('protocol = "paper"\neps = 16\nselect_steps = 10\n')
    method, settings = resolved("--config", str(config), "--protocol", "released")
    assert (settings.select_steps, settings.select_restarts, settings.momentum_at_peak) == (10, 10, 0.8)
    assert method.resolved["lam"] == pytest.approx(255 / 2000)


def pictures(folder, split, labels):
    """Write a table of random images of Tiny-ImageNet's name and size."""
    rows = []
    for i in range(len(labels)):
        pixels = generator("picture", split, i).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    datasets.Dataset.from_dict({"image": rows, "label": labels}).to_parquet(folder / f"tiny-imagenet-{split}.parquet")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))
    pictures(tmp_path, "train", [0, 1, 2] * 10)
    pictures(tmp_path, "valid", [0, 1, 1, 2, 0, 1, 2, 1, 0, 2, 0, 2])
    return tmp_path


def test_tiny_imagenet_of_the_released_code_is_cut_in_its_test_split(tiny):
    paper, released = load("tiny-imagenet", tiny), load("tiny-imagenet", tiny, validation="test")
    assert [len(part) for part in (paper.train, paper.validation, paper.test)] == [27, 3, 12]
    assert [len(part) for part in (released.train, released.validation, released.test)] == [30, 6, 6]
    for part in (released.validation, released.test):
        assert part.labels.bincount().tolist() == [2, 2, 2]  # half of each class
    both = torch.cat([released.validation.pixels, released.test.pixels]).flatten(1)
    assert torch.equal(both.unique(dim=0), paper.test.pixels.flatten(1).unique(dim=0))
    assert torch.equal(load_test("tiny-imagenet", tiny, validation="test").pixels, released.test.pixels)


def test_what_chose_the_weights_is_not_what_they_are_measured_on(tiny, capsys):
    short = [
        "--model",
        "cnn",
        "--width",
        "4",
        "--epochs",
        "1",
        "--batch-size",
        "10",
        "--select-steps",
        "1",
        "--select-restarts",
        "1",
    ]
    out = str(tiny / "run")
    flags = ["--dataset", "tiny-imagenet", "--data-dir", str(tiny), "--protocol", "released", *short]
    main(["train", "--method", "fast-at", *flags, "--out", out])
    assert read_toml(Run(out).config)["resolved"]["validation"] == "test"
    for how in ({}, {"data_dir": tiny}):
        assert evaluate_target(out, attacks=("clean",), **how).n == 6


def test_the_page_has_the_values_of_the_code():
    page = (DOCS / "reference" / "protocol.md").read_text()
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in page.splitlines() if line.startswith("| ")]
    named = {row[0]: row[1:] for row in rows}
    paper, released = PROTOCOLS["paper"], PROTOCOLS["released"]
    peak = next(cells for name, cells in named.items() if "--momentum-at-peak" in name)
    assert "constant" in peak[0]
    assert peak[1].startswith(f"{released.momentum_at_peak}")
    attack = next(cells for name, cells in named.items() if "--select-steps" in name)
    for cell, protocol in zip(attack, (paper, released), strict=True):
        assert f"PGD-{protocol.select_steps}-{protocol.select_restarts}" in cell
