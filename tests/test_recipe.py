"""Settings of a recipe: a rate that ends above zero, an average over a share of the run, random smoothing, selection.

Each against its definition; what is not asked for stays as it is, bit for bit.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import trained_cnn
from fastbat.data import Batch
from fastbat.errors import InputError
from fastbat.evaluation import AttackedModel, Plan, TestImages, correct, frozen, robust
from fastbat.files import read_records
from fastbat.methods import METHODS
from fastbat.methods.method import loss_to, training_loss
from fastbat.training import Settings, train
from fastbat.training.horizon import decay_of
from fastbat.training.schedule import triangular
from fastbat.training.selection import accuracies
from test_collapse import same, weights

EPS = 0.15
SMALL = Settings(epochs=2, width=4, train_limit=150, batch_size=30, select_limit=40, select_steps=2)
FAST_AT = METHODS["fast-at"](eps=EPS)


def test_a_rate_may_end_above_zero():
    steps = 1000
    heights = [triangular(step, steps, 0.1) for step in range(steps)]
    assert heights[:500] == [triangular(step, steps) for step in range(500)]
    assert max(heights) == heights[500] == pytest.approx(1, abs=1e-3)
    assert heights[-1] == pytest.approx(0.1, abs=1e-3)
    assert heights[750] == pytest.approx(0.55, abs=1e-3)  # linear
    assert [triangular(step, 7, 0.0) for step in range(7)] == [min(2 * p, 2 - 2 * p) for p in
                                                               ((step + 0.5) / 7 for step in range(7))]  # fmt: skip


def test_the_rate_of_a_training_ends_there(tmp_path):
    run = train(FAST_AT, replace(SMALL, final_lr=0.25, max_lr=0.1), tmp_path / "run")
    assert [record["lr"] for record in read_records(run.metrics)] == pytest.approx([0.09, 0.1 * (0.25 + 0.75 * 0.1)])


def test_a_rate_of_its_own_is_not_ended_elsewhere(tmp_path):
    settings = Settings(dataset="imagenet", data_dir=tmp_path, final_lr=0.1)
    with pytest.raises(InputError, match=r"final_lr is 0.1, but imagenet has a learning rate of its own"):
        settings.check(FAST_AT)


def test_the_horizon_of_an_average_may_be_a_share_of_the_run():
    assert decay_of("5%", 7800) == pytest.approx(1 - 1 / 390)
    assert decay_of("2.5 %", 1000) == pytest.approx(0.96)
    assert decay_of("5%", 10) == 0.0  # less than an update: the weights themselves
    assert decay_of(0.9995, 10) == decay_of("0.9995") == 0.9995


@pytest.mark.parametrize("given", ["5", "0%", "101%", "%", "five", "1", 1.0, 0, -0.5, "nan"])
def test_what_is_no_horizon_is_refused_in_one_line(given):
    with pytest.raises(InputError, match=r"ema is .*; give a decay between 0 and 1, such as 0.9995, or a share of the"):
        Settings(ema=given)


def test_an_average_over_a_share_of_the_run_is_that_of_its_decay(tmp_path):
    share = train(FAST_AT, replace(SMALL, ema="50%"), tmp_path / "share")  # of 10 updates
    decay = train(FAST_AT, replace(SMALL, ema=0.8), tmp_path / "decay")
    assert same(weights(share, "last-ema"), weights(decay, "last-ema"))
    plain = train(FAST_AT, SMALL, tmp_path / "plain")
    assert same(weights(share), weights(plain))


def test_random_smoothing_is_its_definition():
    logits, y = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 3, 1, 1, 2])
    batch = Batch(torch.rand(5, 1, 2, 2), y, label_smoothing=0.3, random_smoothing=True)
    torch.manual_seed(1)
    loss = training_loss(logits, batch)
    torch.manual_seed(1)
    draws = torch.rand_like(logits)
    targets = torch.zeros_like(logits)
    for i, label in enumerate(y.tolist()):
        others = [k for k in range(4) if k != label]
        targets[i, label] = 0.7
        targets[i, others] = 0.3 * draws[i, others] / draws[i, others].sum()
    assert loss.item() == pytest.approx(-(targets * logits.log_softmax(1)).sum(1).mean().item(), rel=1e-12)
    assert training_loss(logits, batch).item() != pytest.approx(loss.item(), rel=1e-6)  # drawn anew
    even = replace(batch, random_smoothing=False)
    assert torch.equal(training_loss(logits, even), F.cross_entropy(logits, y, label_smoothing=0.3))
    assert torch.equal(training_loss(logits, replace(batch, label_smoothing=0.0)), F.cross_entropy(logits, y))
    whole = F.one_hot(y, 4).double()
    torch.manual_seed(1)
    assert loss_to(logits, whole, batch).item() == pytest.approx(loss.item(), rel=1e-12)


def test_a_training_smooths_at_random_and_repeatably(tmp_path):
    settings = replace(SMALL, label_smoothing=0.4, label_weights="random")
    first, again = (train(FAST_AT, settings, tmp_path / name) for name in ("first", "again"))
    even = train(FAST_AT, replace(settings, label_weights="equal"), tmp_path / "even")
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(even))


class Confident(nn.Module):
    """A network whose cross-entropy has no gradient where it is right: its logits are 10,000 times another's."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return 1e4 * self.model(x)


def test_selection_by_margin_is_pgd_on_the_margin():
    model, x, y = trained_cnn()
    model, x, y = Confident(model), x[:60], y[:60]
    settings = replace(SMALL, select_steps=5, select_restarts=2)
    found = {on: accuracies(model, x, y, EPS, replace(settings, select_on=on)) for on in ("ce", "margin")}
    with frozen(model):
        images = TestImages.of(x, y, model)
        clean, plan = correct(model, images), Plan(EPS, 0, settings.seed, 5, 2)
        rounds = plan.rounds("pgd-margin")
        assert len(rounds) == 2
        left = robust(AttackedModel.of(model), images, clean, rounds, EPS)
    assert found["margin"]["ra"] == pytest.approx(100 * left.float().mean().item())
    assert found["margin"]["sa"] == found["ce"]["sa"]
    assert found["margin"]["one_step"] == found["ce"]["one_step"]
    assert found["margin"]["ra"] < found["ce"]["ra"]


def test_the_cost_of_selection_is_apart(tmp_path):
    run = train(FAST_AT, replace(SMALL, select_on="margin"), tmp_path / "run")
    for record in read_records(run.metrics):
        assert record["select_seconds"] > 0
        assert record["images_per_second"] == pytest.approx(150 / record["seconds"])
