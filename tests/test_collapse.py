"""Catastrophic overfitting: what counts as a collapse, and what the guard does about it."""

from dataclasses import replace
from importlib import import_module

import pytest
import torch

from fastbat.evaluation import gradient_alignment
from fastbat.files import load_tensors, read_records
from fastbat.methods import METHODS, PgdAT
from fastbat.methods.remedy import remedy
from fastbat.models import build_model, load_model
from fastbat.training import Settings, epoch, train
from fastbat.training.overfitting import has_collapsed

RUN = import_module("fastbat.training.train")  # the package's attribute of that name is the function
EPS = 0.15
SMALL = Settings(epochs=3, width=4, train_limit=200, select_limit=60, select_steps=2)
FAST_AT = METHODS["fast-at"](eps=EPS)


@pytest.mark.parametrize(
    ("one_step", "ra"),
    [(23.6, 5.2), (50.2, 0.0), (26.0, 10.6), (19.1, 6.8), (14.3, 4.5)],  # FAST-AT, N-FGSM on CIFAR-10: see docs/log
)
def test_collapsed_nets_are_told(one_step, ra):
    assert has_collapsed(one_step, ra, 25.0, 500)
    assert has_collapsed(one_step, ra, ra, 500)  # a net that has lost everything stays where it is


def test_a_net_that_is_only_learning_to_be_robust_is_not_collapsed():
    assert not has_collapsed(26.0, 10.6, 5.7, 500)  # fine-tuned from undefended weights: higher than ever before
    assert not has_collapsed(26.0, 10.6, -1.0, 500)  # the first epoch of all


@pytest.mark.parametrize(
    ("one_step", "ra"),
    [(23.4, 20.8), (27.6, 22.0), (35.6, 32.0), (7.7, 2.4), (10.0, 10.0), (0.0, 0.0)],  # FAST-BAT, FAST-AT-GA; chance
)
def test_sound_nets_are_not(one_step, ra):
    assert not has_collapsed(one_step, ra, 40.0, 500)


def test_a_handful_of_images_is_no_collapse():
    assert not has_collapsed(15.0, 5.0, 40.0, 60)  # nine images against three
    assert has_collapsed(30.0, 5.0, 40.0, 60)


def test_the_remedy_doubles_the_steps_up_to_sixteen():
    fix, steps = remedy(FAST_AT), []
    while fix is not None:
        assert fix.step == EPS / fix.steps
        steps.append(fix.steps)
        fix = remedy(fix)
    assert steps == [2, 4, 8, 16]
    assert remedy(PgdAT(EPS, steps=7)).steps == 8
    assert remedy(PgdAT(EPS, steps=10)).steps == 16


def collapse_in(monkeypatch, epochs, times=1):
    """Let the epochs numbered `epochs` (from 1) look collapsed the first `times` times they are judged."""
    validate, seen = RUN.validate, []

    def judged(task, state):
        record = validate(task, state)
        seen.append(state.epoch + 1)
        if state.epoch + 1 in epochs and seen.count(state.epoch + 1) <= times:
            record |= {"val_one_step": 60.0, "val_ra": 1.0, "collapsed": True}
        return record

    monkeypatch.setattr(RUN, "validate", judged)


def stop_training(monkeypatch, when):
    """Let the training fail in the epoch that begins from a state of which `when` is true."""
    train_epoch = RUN.train_epoch
    monkeypatch.setattr(
        RUN, "train_epoch", lambda task, state, restore: 1 / 0 if when(state) else train_epoch(task, state, restore)
    )


def weights(run, which="last"):
    return load_tensors(run.weights(which))[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_warn_says_so_and_goes_on(tmp_path, monkeypatch, capsys):
    plain = train(FAST_AT, SMALL, tmp_path / "plain")
    collapse_in(monkeypatch, [2])
    run = train(FAST_AT, SMALL, tmp_path / "run")
    assert "collapsed in epoch 2: accuracy 60.0 % under one step, 1.0 % under PGD" in capsys.readouterr().err
    assert [r["collapsed"] for r in read_records(run.metrics)] == [False, True, False]
    assert same(weights(run), weights(plain))


def test_stop_keeps_the_collapsed_epoch_and_trains_no_more(tmp_path, monkeypatch, capsys):
    collapse_in(monkeypatch, [2])
    settings = replace(SMALL, on_collapse="stop")
    run = train(FAST_AT, settings, tmp_path / "run")
    assert [r["epoch"] for r in read_records(run.metrics)] == [1, 2]
    assert "stopped, best.safetensors keeps the best epoch" in capsys.readouterr().err
    before = weights(run)
    train(FAST_AT, settings, tmp_path / "run", resume=True)
    assert [r["epoch"] for r in read_records(run.metrics)] == [1, 2]
    assert same(weights(run), before)


@pytest.mark.parametrize("name", ["fast-at", "free-at", "atta"])
def test_rollback_goes_on_from_the_last_sound_epoch_with_pgd_2(name, tmp_path, monkeypatch, capsys):
    collapse_in(monkeypatch, [2])
    settings = replace(SMALL, on_collapse="rollback", ema=0.9, max_lr=0.05)
    method = METHODS[name](eps=EPS)
    run = train(method, settings, tmp_path / "run")
    assert "back to epoch 1, then PGD-AT with 2 steps of eps / 2" in capsys.readouterr().err
    monkeypatch.undo()
    records = read_records(run.metrics)
    assert [r["epoch"] for r in records] == [1, 2, 3]
    assert [taken["val_one_step"] for taken in records[1]["discarded"]] == [60.0]
    assert [record.get("remedy_steps") for record in records] == [None, 2, 2]
    assert "discarded" not in records[2]
    about = load_model(run.weights("last"))[1]
    assert about["remedy_steps"] == 2  # the weights say that another method trained them too
    assert about["config"]["method"] == name

    if name == "free-at":  # whose replays would be taken over
        return
    update = epoch.update

    def switched(task, state, batch, step):  # the same by hand: epoch 1 with the method, the rest with PGD-2
        if state.epoch > 0:
            state.method = PgdAT(EPS, steps=2, step=EPS / 2)
        return update(task, state, batch, step)

    monkeypatch.setattr(epoch, "update", switched)
    by_hand = train(method, replace(settings, on_collapse="warn"), tmp_path / "by hand")
    assert same(weights(run), weights(by_hand))
    assert same(weights(run, "last-ema"), weights(by_hand, "last-ema"))


def test_rollback_from_the_first_epoch_and_a_second_collapse(tmp_path, monkeypatch):
    collapse_in(monkeypatch, [1], times=2)
    run = train(FAST_AT, replace(SMALL, on_collapse="rollback"), tmp_path / "run")
    records = read_records(run.metrics)
    assert [r["epoch"] for r in records] == [1, 2, 3]
    assert len(records[0]["discarded"]) == 2
    assert load_model(run.weights("last"))[1]["remedy_steps"] == 4


def test_a_run_that_was_rolled_back_resumes_under_its_remedy(tmp_path, monkeypatch):
    settings = replace(SMALL, on_collapse="rollback")
    collapse_in(monkeypatch, [1])
    whole = train(FAST_AT, settings, tmp_path / "whole")
    monkeypatch.undo()
    collapse_in(monkeypatch, [1])
    stop_training(monkeypatch, lambda state: state.epoch == 2)
    with pytest.raises(ZeroDivisionError):
        train(FAST_AT, settings, tmp_path / "stopped")
    monkeypatch.undo()
    stopped = train(FAST_AT, settings, tmp_path / "stopped", resume=True)
    assert same(weights(whole), weights(stopped))
    assert read_records(stopped.metrics)[0]["discarded"][0]["collapsed"]


def test_a_run_that_is_stopped_right_after_a_rollback_goes_on_under_its_remedy(tmp_path, monkeypatch):
    settings = replace(SMALL, on_collapse="rollback")
    collapse_in(monkeypatch, [2])
    whole = train(FAST_AT, settings, tmp_path / "whole")
    monkeypatch.undo()
    collapse_in(monkeypatch, [2])
    stop_training(monkeypatch, lambda state: state.discarded)
    with pytest.raises(ZeroDivisionError):
        train(FAST_AT, settings, tmp_path / "stopped")
    monkeypatch.undo()
    stopped = train(FAST_AT, settings, tmp_path / "stopped", resume=True)
    assert same(weights(whole), weights(stopped))
    assert len(read_records(stopped.metrics)[1]["discarded"]) == 1


@pytest.mark.parametrize(("name", "scale"), [("yopo", 0.2), ("free-at", 0.2), ("fast-at", 1)])
def test_a_remedy_is_given_the_learning_rate_that_is_its_own(name, scale, tmp_path, monkeypatch):
    collapse_in(monkeypatch, [2])
    rates = []
    update = epoch.update

    def spy(task, state, batch, step):
        found = update(task, state, batch, step)
        rates.append((isinstance(state.method, PgdAT), state.optimizer.param_groups[0]["lr"] / task.settings.max_lr))
        return found

    monkeypatch.setattr(epoch, "update", spy)
    train(METHODS[name](eps=EPS), replace(SMALL, on_collapse="rollback"), tmp_path / "run")
    assert max(rate for remedied, rate in rates if remedied) > max(r for before, r in rates if not before) / scale * 0.5
    assert max(rate for remedied, rate in rates if not remedied) <= 1


def test_fine_tuning_of_undefended_weights_is_no_collapse(tmp_path):
    start = train(METHODS["standard"](), replace(SMALL, train_limit=None, epochs=5, width=8), tmp_path / "start")
    settings = replace(SMALL, train_limit=None, init_from=start.path, on_collapse="stop", width=8, max_lr=0.02)
    run = train(METHODS["pgd-7"](eps=EPS), replace(settings, select_steps=10), tmp_path / "run")
    records = read_records(run.metrics)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert not any(record["collapsed"] for record in records)


def test_alignment_is_1_for_a_linear_model_and_is_measured_on_request(tmp_path):
    x, y = torch.rand(9, 1, 8, 8), torch.randint(2, (9,))
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))  # CE of 2 classes: one direction
    assert gradient_alignment(linear, x, y, 0.3) == pytest.approx(1, abs=1e-6)
    net = build_model("cnn", mean=(0.5,), std=(0.5,), width=4)
    score = gradient_alignment(net, x, y, 0.3, batch_size=9)
    assert -1 < score < 0.999
    assert gradient_alignment(net, x, y, 0.3, batch_size=2) == pytest.approx(score, abs=1e-6)
    run = train(FAST_AT, replace(SMALL, ga_images=30, epochs=1), tmp_path / "run")
    assert -1 <= read_records(run.metrics)[0]["ga"] <= 1
