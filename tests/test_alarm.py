"""The alarm for collapse: the alignment it hears against plain gradients, when it is on, and what the guard then does.

Also: an update is bit for bit what it is without the alarm, and a training that escalates resumes exactly.
"""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fastbat.errors import InputError
from fastbat.files import read_records
from fastbat.methods import METHODS, PgdAT
from fastbat.randomness import seed_torch
from fastbat.training import Settings, alarm, epoch, train
from fastbat.training.alarm import Alarm
from fastbat.training.gradients import gradients, means
from test_baselines import batch_norm_net, images
from test_collapse import same, weights
from test_methods import batch_of, model_of
from test_resume import assert_same, stop_after_updates, train_with_stops

EPS, NOISE = 0.15, (0, "step", 0)
SMALL = Settings(epochs=2, width=4, train_limit=150, batch_size=30, select_limit=40, select_steps=1)
FAST_AT = METHODS["fast-at"](eps=EPS)


@pytest.mark.parametrize("name", ["fast-at", "n-fgsm", "pgd-2", "sora", "elle-a"])
def test_it_hears_the_mean_cosine_of_the_first_and_the_last_input_gradient(name: str) -> None:
    net, batch = batch_norm_net(0), images(0)
    plain, shown = deepcopy(net), []
    with net.register_forward_hook(lambda _, inputs, __: shown.append(inputs[0].detach())):
        found = means(gradients(METHODS[name](8 / 255), net, batch, 1, NOISE))

    def slope(x: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(plain(x), batch.y), x)[0].flatten(1)

    a, b = slope(shown[0]), slope(shown[1 if name == "elle-a" else -1])  # ELLE-A's last is of three times the images
    assert found["pert_align"].item() == pytest.approx(F.cosine_similarity(a, b).mean().item(), rel=1e-9)
    assert found["pert_align"] < 0.999


@pytest.mark.parametrize("name", ["fast-at", "fast-bat", "fast-at-ga", "yopo", "liet", "nuat", "trades", "free-at"])
def test_an_update_is_bit_for_bit_what_it_is_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for network in ("cnn", "preactresnet18"):
        model, method, batch = model_of(network), METHODS[name](8 / 255), replace(batch_of(network), progress=0.5)
        other, again = deepcopy(model), METHODS[name](8 / 255)
        found = gradients(method, model, replace(batch, log={}), 1, NOISE)
        seed_torch(*NOISE)
        for loss in again.losses(other, replace(batch, log={})):
            loss.backward()
        pairs = zip(model.parameters(), other.parameters(), strict=True)
        assert all(torch.equal(a.grad, b.grad) for a, b in pairs)
        assert ("pert_align" in found) == (name != "free-at")


def heard(values: list[float]) -> list[bool]:
    listening = Alarm()
    return [bool(listening.heard(torch.tensor(value))) for value in values]


def test_it_is_on_soon_after_the_alignment_falls_and_not_where_it_drifts() -> None:
    on = heard([0.6] * 300 + [0.1] * 40)
    assert 300 < on.index(True) <= 315
    assert not any(heard([0.9 - 0.0005 * k for k in range(1500)]))  # to 0.15, slowly
    assert not any(heard([0.6] * 100 + [0.1] * 60))  # too early to judge
    assert not any(heard([0.5 + 0.4 * (-1) ** k for k in range(600)]))  # noise


def test_its_means_are_those_of_their_weights() -> None:
    values, listening = torch.linspace(0.9, 0.2, 30), Alarm()
    for value in values:
        listening.heard(value)
    for mean, left in ((listening.fast, 0.9), (listening.slow, 0.995)):
        weights = left ** torch.arange(29, -1, -1)
        assert mean.item() == pytest.approx(((weights * values).sum() / weights.sum()).item(), rel=1e-5)


def test_after_two_steps_it_has_to_fall_again() -> None:
    listening = Alarm()
    for value in [0.6] * 300 + [0.1] * 20:
        on = listening.heard(torch.tensor(value))
    assert on
    listening.escalate(until=500)
    assert not listening.heard(torch.tensor(0.55))
    assert sum(bool(listening.heard(torch.tensor(0.1))) for _ in range(20)) > 5


@pytest.fixture
def always_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alarm that is on from the fourth update on, whatever it hears."""
    monkeypatch.setattr(alarm, "WARM_UP", 3)
    monkeypatch.setattr(alarm, "BELOW", 1e9)


def test_every_epoch_has_its_alignment_and_nothing_else_happens(tmp_path, always_on, capsys) -> None:
    run = train(FAST_AT, SMALL, tmp_path / "run")
    records = read_records(run.metrics)
    assert [0 < record["pert_align"] <= 1 for record in records] == [True, True]
    assert [record["alarm"] for record in records] == pytest.approx([2 / 5, 1])  # of 5 updates an epoch
    assert "alarm" not in capsys.readouterr().err


def test_the_guard_warns_stops_and_rolls_back(tmp_path, always_on, capsys) -> None:
    kept = {"warn": 2, "stop": 1, "rollback": 2}
    for how, epochs in kept.items():
        run = train(FAST_AT, replace(SMALL, on_alarm=how), tmp_path / how)
        assert len(read_records(run.metrics)) == epochs
        said = capsys.readouterr().err
        assert "alarm in epoch 1, before 40.0% of its updates" in said or how == "rollback"
    assert "then PGD-AT with 2 steps of eps / 2" in said
    assert read_records(run.metrics)[0]["remedy_steps"] >= 2


def test_escalated_updates_have_two_steps_and_then_one_again(tmp_path, always_on, monkeypatch) -> None:
    made, find = [], epoch.find_gradients

    def noted(task, state, batch, step):
        made.append(state.method_at(step))
        return find(task, state, batch, step)

    monkeypatch.setattr(epoch, "find_gradients", noted)
    settings = replace(SMALL, on_alarm="escalate", escalate_updates=2)
    run = train(FAST_AT, settings, tmp_path / "run")
    steps = [each.steps if isinstance(each, PgdAT) else 1 for each in made]
    assert steps == [1, 1, 1, 1, 2, 2, 1, 2, 2, 1]
    assert [record["escalated"] for record in read_records(run.metrics)] == pytest.approx([1 / 5, 3 / 5])

    def switched(task, state, batch, step):  # the same by hand
        method, state.method = state.method, PgdAT(EPS, steps=2, step=EPS / 2) if steps[step] == 2 else state.method
        found = find(task, state, batch, step)
        state.method = method
        return found

    monkeypatch.setattr(epoch, "find_gradients", switched)
    by_hand = train(FAST_AT, SMALL, tmp_path / "by hand")
    assert same(weights(run), weights(by_hand))


def test_a_training_that_escalates_stopped_after_every_step_is_the_one_that_never_stopped(
    tmp_path, always_on, monkeypatch
) -> None:
    settings = replace(SMALL, on_alarm="escalate", escalate_updates=3)
    whole = train(FAST_AT, settings, tmp_path / "whole")
    stop_after_updates(monkeypatch)
    run, stops = train_with_stops(FAST_AT, settings, tmp_path / "stopped")
    assert stops == 10
    assert_same(run, whole)


def test_a_method_of_one_gradient_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="on_alarm is warn, but FreeAT has one input gradient an update"):
        train(METHODS["free-at"](eps=EPS), replace(SMALL, on_alarm="warn"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_passes_that_are_replayed_are_not_heard_so_nothing_can_wait_for_the_alarm(tmp_path) -> None:
    with pytest.raises(InputError, match="on_alarm is stop, and capture is on"):
        train(FAST_AT, replace(SMALL, on_alarm="stop", capture=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_network_behind_anything_is_heard() -> None:
    wrapped = nn.Sequential(model_of("cnn"))
    assert "pert_align" in gradients(METHODS["fast-at"](8 / 255), wrapped, batch_of("cnn"), 2, NOISE)
