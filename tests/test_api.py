"""The names that `fastbat` exports: train and measure from Python alone."""

import pytest
import torch

import fastbat
from fastbat.data import load

TINY = {"epochs": 1, "width": 4, "train_limit": 100, "select_limit": 10, "select_steps": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fastbat.train(fastbat.FastAT(eps=0.1), fastbat.Settings(**TINY), tmp_path_factory.mktemp("api") / "run")


def test_every_method_is_there_by_its_class():
    assert all(getattr(fastbat, cls.__name__) is cls for cls in fastbat.METHODS.values())


def test_a_run_is_measured_by_its_object_its_path_or_its_network(run):
    how = {"attacks": "clean,fgsm", "limit": 50, "precision": "float32"}
    model, about = fastbat.load_model(run.weights("best"))
    data = load("digits").test.slice(0, 50).tensors()
    results = [
        fastbat.evaluate(run, **how),
        fastbat.evaluate(str(run.path), **how),
        fastbat.evaluate(run.weights("best"), **how),
        fastbat.evaluate(model, data, eps=about["config"]["eps"] / 255, **how),
    ]
    assert len({tuple((each.label, each.eps, each.mask) for each in result.accuracies) for result in results}) == 1


def test_an_evaluation_prints_as_a_table(run):
    text = str(fastbat.evaluate(run, attacks="clean,fgsm", limit=50))
    assert "best.safetensors, epoch 1: 50 images of digits" in text
    assert "│ RA-FGSM │ 25.5/255 │" in text
    assert "[low, high]: 95 % interval over the draw of the images" in text


def test_images_belong_to_a_network_and_a_target_has_its_own(run):
    images = torch.rand(4, 1, 8, 8), torch.arange(4)
    with pytest.raises(fastbat.InputError, match="measured on the test images of its data set; leave data out"):
        fastbat.evaluate(run, images)
    with pytest.raises(fastbat.InputError, match="a network is measured on images of yours"):
        fastbat.evaluate(fastbat.build_model("cnn"), eps=0.1)


def test_a_run_is_diagnosed(run, tmp_path):
    found = fastbat.diagnose(run, tmp_path / "look", limit=20)
    assert (tmp_path / "look" / "diagnosis.json").exists()
    assert found["n"] == 20
