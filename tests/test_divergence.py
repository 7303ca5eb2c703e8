"""What is said of a training that diverges: its cause, and not another; and of batches that a method skips."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastbat.data import Batch, load
from fastbat.errors import DivergedError
from fastbat.files import load_tensors, read_records
from fastbat.methods import METHODS, FastBAT, beyond_published
from fastbat.models import build_model
from fastbat.randomness import seed_torch
from fastbat.training import Settings, train
from fastbat.training.divergence import explain
from fastbat.training.gradients import gradients, means
from test_methods import batch_of, model_of

EPS = 8 / 255
SMALL = Settings(epochs=1, width=4, train_limit=200, select_limit=20, select_steps=1, batch_size=50)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("eps", [2, 8, 16])
def test_no_default_is_beyond_what_was_published(name: str, eps: int) -> None:
    assert beyond_published(METHODS[name](eps=eps / 255)) == {}


@pytest.mark.parametrize(
    ("name", "how", "says"),
    [
        ("fast-at-ga", {"eps": 51 / 255}, "mu is 4.743e+04, above the largest published value, 2"),
        ("fast-at-ga", {"eps": 17 / 255}, "mu is 2.667, above the largest published value, 2"),
        ("fast-at-ga", {"eps": 51 / 255, "mu": 2.0}, None),
        ("trades", {"eps": EPS, "beta": 1e4}, "beta is 1e+04, above the largest published value, 6"),
        ("backsmooth", {"eps": EPS, "beta": 11.0}, "beta is 11, above the largest published value, 10"),
        ("atta", {"eps": EPS, "beta": 7.0}, "beta is 7, above the largest published value, 6"),
        ("fast-bat", {"eps": EPS, "ig_weight": 19.6}, "ig_weight is 19.6, above the largest published value, 0.1"),
    ],
)
def test_a_weight_beyond_the_published_is_named(name: str, how: dict[str, Any], says: str | None) -> None:
    assert list(beyond_published(METHODS[name](**how)).values()) == ([says] if says else [])


def test_an_extrapolated_mu_is_said_at_the_start_and_named_when_it_diverges(tmp_path, capsys) -> None:
    """FAST-AT-GA at 51/255, whose mu is 47,000 by the authors' rule."""
    method = METHODS["fast-at-ga"](eps=51 / 255)
    settings = replace(SMALL, epochs=2, precision="float32", max_lr=2.0)
    with pytest.raises(DivergedError) as caught:
        train(method, settings, tmp_path / "run")
    assert "mu is 4.743e+04, above the largest published value, 2; set it with --mu\n" in capsys.readouterr().err
    assert str(caught.value).endswith("published value, 2: train into another --out with a lower --mu")
    assert "max-lr" not in str(caught.value)


def test_what_is_published_is_not_remarked_on(tmp_path, capsys) -> None:
    train(METHODS["fast-at-ga"](eps=16 / 255), SMALL, tmp_path / "run")
    assert "published" not in capsys.readouterr().err


FILLED = SMALL.resolved(METHODS["standard"]())


def no_fault(update: int) -> None:
    return None


@pytest.mark.parametrize(
    ("losses", "first", "says"),
    [
        (
            {0: 2.3, 1: 9.0, 2: 1e4, 3: 3e30, 4: torch.nan},
            0,
            "the losses were 9, 1e+04, 3e+30, nan: train into another",
        ),
        (
            {0: torch.nan, 1: torch.nan},
            0,
            "the learning rate is not the cause, for it was the first update; check the se",
        ),
        ({0: torch.nan, 1: torch.nan}, 7, "the losses were nan: train into another --out with a lower --max-lr"),
        ({0: 2.3, 1: 2.2}, 0, "train into another --out with a lower --max-lr"),  # the last update spoiled the weights
        ({3: 2.3, 5: torch.inf}, 0, "the losses were 2.3, inf: train"),  # 0 to 2, and 4, were skipped
    ],
)
def test_the_losses_before_say_whether_the_learning_rate_can_be_the_cause(losses, first, says) -> None:
    assert explain(METHODS["fast-at"](EPS), FILLED, losses, first, no_fault).startswith(says)


def test_the_images_of_the_first_bad_update_are_looked_at() -> None:
    asked: list[int] = []
    said = explain(
        FastBAT(EPS), FILLED, {0: 2.0, 2: torch.nan, 3: torch.nan}, 0, lambda number: asked.append(number) or "it is so"
    )
    assert (
        said == "the learning rate is not the cause, for before this epoch it is so; check the network and the images"
    )
    assert asked == [2]


@pytest.mark.parametrize(
    ("max_lr", "decay", "grows"), [(0.1, 36.0, False), (0.1, 40.0, True), (1.0, 3.9, True), (1.0, 3.7, False)]
)
def test_a_weight_decay_is_named_if_it_alone_makes_weights_grow(max_lr: float, decay: float, grows: bool) -> None:
    """That is so if SGD on the decay alone, with the momentum of the training, leaves more of a weight than it had."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    weight.grad = torch.zeros_like(weight)
    sgd = torch.optim.SGD([weight], max_lr, momentum=SMALL.momentum, weight_decay=decay)
    for _ in range(400):
        sgd.step()
    assert (weight.abs().item() > 1) == grows
    settings = replace(FILLED, max_lr=max_lr, weight_decay=decay)
    said = explain(METHODS["fast-at"](EPS), settings, {0: 2.3, 1: torch.inf}, 0, no_fault)
    assert said.endswith("a lower --max-lr or --weight-decay" if grows else "a lower --max-lr")


def test_a_network_that_some_images_break_is_told_from_a_learning_rate(tmp_path, monkeypatch) -> None:
    """Images brighter than the first eight are infinite logits, from the first update in which one is."""
    digits = load("digits")
    x, _ = digits.train.slice(0, 200).tensors()
    bright = ((x - digits.card.mean[0]) / digits.card.std[0]).mean((1, 2, 3))  # as the network sees it
    limit = bright[:8].max() + 1e-4
    assert (bright > limit).any()

    class Dazzled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            z = self.linear(x.flatten(1))
            return z + torch.where(x.mean((1, 2, 3)) > limit, torch.inf, 0.0)[:, None]

    monkeypatch.setattr("fastbat.models.external.from_code", lambda *_, num_classes, channels: Dazzled())
    with pytest.raises(
        DivergedError, match=r"in epoch 1: loss (nan|inf), .* rate is not the cause, .* the logits are not"
    ):
        train(METHODS["standard"](), replace(SMALL, width=None, model="mine:net"), tmp_path / "run")


@dataclass(frozen=True)
class Picky(METHODS["standard"]):
    """Standard training, but for batches whose first label is below `least`."""

    least: int = 5

    def losses(self, model, batch):
        if batch.y[0] >= self.least:
            yield from super().losses(model, batch)


def test_batches_for_which_a_method_yields_nothing_make_no_update_and_are_counted(tmp_path, monkeypatch) -> None:
    from fastbat.training import epoch

    update, seen = epoch.update, []

    def spy(task, state, batch, step):
        before = [weight.detach().clone() for weight in state.model.parameters()]
        found = update(task, state, batch, step)
        moved = any(not torch.equal(a, b) for a, b in zip(before, state.model.parameters(), strict=True))
        seen.append((bool(batch.y[0] >= 5), moved))
        return found

    monkeypatch.setattr(epoch, "update", spy)
    run = train(Picky(), replace(SMALL, batch_size=10, epochs=2, ema=0.9), tmp_path / "run")
    assert all(yields == moved for yields, moved in seen)
    records = read_records(run.metrics)
    counts = [sum(not yields for yields, _ in part) for part in (seen[:20], seen[20:])]
    assert [record["skipped"] for record in records] == counts
    assert min(counts) > 0
    assert all(weight.isfinite().all() for weight in load_tensors(run.weights("last"))[0].values())


def test_a_run_that_skips_nothing_says_nothing_of_it(tmp_path) -> None:
    (record,) = read_records(train(Picky(least=0), SMALL, tmp_path / "run").metrics)
    assert "skipped" not in record


def test_an_epoch_without_a_loss_is_counted_and_leaves_the_weights(tmp_path, capsys) -> None:
    run = train(Picky(least=10), replace(SMALL, batch_size=40), tmp_path / "run")
    (record,) = read_records(run.metrics)
    assert record["skipped"] == 5
    assert "loss" not in record
    assert "epoch 1/1  no loss  5 batches skipped  validation SA " in capsys.readouterr().err
    weights, about = load_tensors(run.weights("last"))
    seed_torch(SMALL.seed, "weights")
    start = build_model(**about["model"]).state_dict()
    assert all(torch.equal(weights[name], start[name]) for name in start)


def test_a_part_for_which_nothing_is_yielded_is_left_out_of_the_mean() -> None:
    model, batch = model_of("cnn").double().eval(), batch_of("cnn", 12)
    x, y = batch.x.double(), torch.tensor([9, 1, 2, 3, 0, 1, 1, 3, 9, 0, 2, 3]).clamp(max=3)
    method = Picky(least=3)  # parts of 4 images begin with 3, 0 and 3
    found = means(gradients(method, model, Batch(x, y), 3, ()))
    in_parts = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    left = torch.cat([torch.arange(4), torch.arange(8, 12)])
    whole = means(gradients(METHODS["standard"](), model, Batch(x[left], y[left]), 1, ()))
    torch.testing.assert_close(found["loss"], whole["loss"], rtol=1e-12, atol=0)
    for part, weight in zip(in_parts, model.parameters(), strict=True):
        torch.testing.assert_close(part, weight.grad, rtol=1e-9, atol=1e-12)
    assert gradients(Picky(least=4), model, Batch(x, y), 3, ()) == {}
