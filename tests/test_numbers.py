"""Numbers and arrays of other libraries are taken for what they are, to the bit."""

import json

import numpy as np
import pytest
import torch

from fastbat import evaluate
from fastbat.data import load
from fastbat.errors import InputError
from fastbat.methods import METHODS
from fastbat.models import build_model
from fastbat.training import Settings, train

TINY = {"epochs": 1, "width": 4, "batch_size": 8, "select_limit": 5, "select_steps": 1, "model": "cnn"}


def test_arrays_and_scalars_of_numpy_are_taken_as_numbers(tmp_path):
    test = load("digits").test
    (x, y), model = test.slice(0, 60).tensors(), build_model("cnn", width=4, mean=(0.3,), std=(0.4,))
    how = {"attacks": ["clean", "pgd"], "pgd_restarts": 1, "precision": "float32"}
    ours = evaluate(model, (x, y), eps=[0.05, 0.1], pgd_steps=3, seed=3, limit=50, batch_size=20, **how)
    counts = {"pgd_steps": np.int64(3), "seed": np.int32(3), "limit": np.int64(50), "batch_size": torch.tensor(20)}
    theirs = evaluate(model, (x.numpy(), y.numpy().astype(np.uint8)), eps=np.array([0.05, 0.1]), **counts, **how)
    assert json.dumps(theirs.record()["settings"]) == json.dumps(ours.record()["settings"])
    assert [each.hits for each in theirs.accuracies] == [each.hits for each in ours.accuracies]
    numbers = {"epochs": np.int64(1), "seed": np.uint8(2), "max_lr": np.float64(0.1), "train_limit": np.int64(20)}
    plain = {name: value.item() for name, value in numbers.items()}
    runs = [
        train(METHODS["fast-at"](eps=eps), Settings(**{**TINY, **some}), tmp_path / eps.__class__.__name__)
        for eps, some in ((np.float64(0.1), numbers), (0.1, plain))
    ]
    assert runs[0].config.read_text() == runs[1].config.read_text()
    assert runs[0].weights("last").read_bytes() == runs[1].weights("last").read_bytes()


def test_rounding_outside_of_the_range_is_clipped_and_more_is_shown():
    x, y = load("digits").test.slice(0, 20).tensors()
    model = build_model("cnn", width=4, mean=(0.3,), std=(0.4,))
    ours, rounded = (evaluate(model, (each, y), eps=0.1, attacks=["clean"]) for each in (x, x * 1.0000005))
    assert rounded.sa.hits == ours.sa.hits
    with pytest.raises(InputError, match=r"images lie in \[0, 1\.0001\d*\]; they must lie in \[0, 1\]"):
        evaluate(model, (x * 1.0001, y), eps=0.1)


@pytest.mark.parametrize("form", ["pair", "loader"])
def test_images_of_inference_mode_are_measured_as_others_are(form):
    model = build_model("cnn", width=4, mean=(0.3,), std=(0.4,))
    how = {"eps": 0.1, "attacks": ["clean", "pgd", "apgd-ce"], "pgd_steps": 2, "pgd_restarts": 1}
    x, y = load("digits").test.slice(0, 20).tensors()
    with torch.inference_mode():
        pair = x.clone(), y.clone()
    found = evaluate(model, pair if form == "pair" else [pair], **how)
    assert [each.hits for each in found.accuracies] == [each.hits for each in evaluate(model, (x, y), **how).accuracies]
