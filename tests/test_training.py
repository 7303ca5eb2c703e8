"""Training: a run repeats bit for bit, resumes as if it had never stopped, and leaves behind what it says."""

import json
import re
import tomllib
from dataclasses import replace
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import percent
from fastbat.audit import evaluate_target
from fastbat.data import DATASETS, Batch, load
from fastbat.errors import DivergedError, InputError
from fastbat.files import load_tensors, locked, read_records, save_tensors
from fastbat.methods import METHODS, FastBAT
from fastbat.models import build_model, load_model
from fastbat.randomness import generator, seed_torch
from fastbat.training import Run, Settings, checkpoints, train
from fastbat.training import epoch as epochs
from fastbat.training.average import move_average, start_average
from fastbat.training.run import CHECKPOINTS
from fastbat.training.schedule import triangular

RUN = import_module("fastbat.training.train")  # the package's attribute of that name is the function
EPS = 0.15
SMALL = Settings(epochs=3, width=4, train_limit=300, select_limit=40, select_steps=2)


def weights(run, which="last"):
    return load_tensors(run.weights(which))[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def spy_on_updates(monkeypatch, look):
    """Let no update be made; `look` at what it would be made of."""
    monkeypatch.setattr(
        epochs, "update", lambda task, state, batch, step: look(batch, step) or {"loss": torch.zeros(())}
    )


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name, tmp_path):
    method, settings = METHODS[name](eps=8 / 255), replace(SMALL, epochs=2)
    first, again = (train(method, settings, tmp_path / str(i)) for i in range(2))
    other = train(method, replace(settings, seed=1), tmp_path / "other")
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize(
    ("name", "how"), [("free-at", {}), ("atta", {}), ("fast-bat", {"ig_mode": "tangent", "ig_every": 2})]
)
def test_what_a_method_remembers_is_resumed_too(name, how, tmp_path, monkeypatch):
    method, settings = METHODS[name](eps=8 / 255, **how), Settings(**{**vars(SMALL), "epochs": 2})
    whole = train(method, settings, tmp_path / "whole")
    train_epoch = RUN.train_epoch

    def stopped(task, state, restore):
        if state.epoch == 1:
            raise KeyboardInterrupt
        return train_epoch(task, state, restore)

    monkeypatch.setattr(RUN, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(method, settings, tmp_path / "stopped")
    monkeypatch.undo()
    resumed = train(method, settings, tmp_path / "stopped", resume=True)
    assert same(weights(whole), weights(resumed))
    found = [[{k: v for k, v in r.items() if k in ("loss", "active", "term")} for r in read_records(run.metrics)]
             for run in (whole, resumed)]  # fmt: skip
    assert found[0] == found[1]


@pytest.mark.parametrize(("name", "how"), [("free-at", {"replays": 2}), ("atta", {"reset": 3})])
def test_a_ramp_of_eps_in_an_update_resumes_with_what_is_remembered(name, how, tmp_path, monkeypatch):
    method, settings = METHODS[name](eps=8 / 255, **how), Settings(**{**vars(SMALL), "epochs": 2})
    gradients, seen = epochs.shared_gradients, []

    def ramped(method, net, batch, *how):
        now = method.with_eps(method.eps * (1 - 0.8 * batch.progress))  # down, so that the memory has to be cut
        seen.append(now.eps)
        return gradients(now, net, batch, *how)

    def stopped(task, state, restore):
        return train_epoch(task, state, restore) if state.epoch == 0 else 1 / 0

    monkeypatch.setattr(epochs, "shared_gradients", ramped)
    whole, train_epoch = train(method, settings, tmp_path / "whole"), RUN.train_epoch
    assert len(seen) == len(set(seen)) == 6 * how.get("replays", 1)
    monkeypatch.setattr(RUN, "train_epoch", stopped)
    with pytest.raises(ZeroDivisionError):
        train(method, settings, tmp_path / "stopped")
    monkeypatch.setattr(RUN, "train_epoch", train_epoch)
    resumed = train(method, settings, tmp_path / "stopped", resume=True)
    assert same(weights(whole), weights(resumed))
    memories = [
        {key: t for key, t in load_tensors(run.state)[0].items() if key[:6] == "memory"} for run in (whole, resumed)
    ]
    assert memories[0].keys() != set()
    assert same(*memories)


def test_free_at_presents_every_batch_eight_times_on_its_own_budget(tmp_path, monkeypatch):
    steps = []
    spy_on_updates(monkeypatch, lambda batch, step: steps.append((step, batch.index)))
    run = train(METHODS["free-at"](eps=EPS), Settings(**{**vars(SMALL), "epochs": None}), tmp_path / "run")
    assert [step for step, _ in steps] == list(range(10 * 3 * 8))  # epochs, batches, replays
    assert all(torch.equal(steps[0][1], index) for _, index in steps[:8])
    assert not torch.equal(steps[0][1], steps[8][1])
    config = tomllib.loads(run.config.read_text())
    assert (config["resolved"]["epochs"], config["resolved"]["max_lr"]) == (10, pytest.approx(0.02))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_run_killed_in_an_epoch_resumes_to_the_weights_of_one_never_stopped(precision, tmp_path, monkeypatch):
    settings = Settings(**{**vars(SMALL), "precision": precision})
    method = METHODS["fast-bat"](eps=EPS)
    whole = train(method, settings, tmp_path / "whole")
    update = epochs.update

    def killed(task, state, batch, step):
        if step == 4:  # in the second epoch of 3 steps
            raise KeyboardInterrupt
        return update(task, state, batch, step)

    monkeypatch.setattr(epochs, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train(method, settings, tmp_path / "stopped")
    monkeypatch.setattr(epochs, "update", update)
    stopped = train(method, settings, tmp_path / "stopped", resume=True)
    assert same(weights(whole), weights(stopped))
    assert same(weights(whole, "best"), weights(stopped, "best"))
    timeless = [[{k: v for k, v in r.items() if k in ("epoch", "loss", "val_ra")} for r in read_records(run.metrics)]
                for run in (whole, stopped)]  # fmt: skip
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("at", ["best", "last", "metrics", "state"])
def test_a_crash_between_any_two_files_of_an_epoch_loses_nothing(at, tmp_path, monkeypatch):
    method = METHODS["fast-at"](eps=EPS)
    whole = train(method, SMALL, tmp_path / "whole")
    calls = {"best": "save_model", "last": "save_model", "metrics": "append_record", "state": "save_state"}
    where = checkpoints if at == "state" else RUN
    real = getattr(where, calls[at])

    def crash(path, *args, **how):
        if read_records(Run(tmp_path / "crashed").metrics) and path.name.split(".")[0] in (
            at,
            "last" * (at == "state"),
        ):
            raise OSError("power cut")
        return real(path, *args, **how)

    monkeypatch.setattr(where, calls[at], crash)
    monkeypatch.setattr(RUN, "is_best", lambda state, kind, record: True)
    with pytest.raises(OSError, match="power cut"):
        train(method, SMALL, tmp_path / "crashed")
    monkeypatch.undo()
    crashed = train(method, SMALL, tmp_path / "crashed", resume=True)
    assert same(weights(whole), weights(crashed))
    assert [r["epoch"] for r in read_records(crashed.metrics)] == [1, 2, 3]


def test_a_resume_keeps_the_records_of_the_epochs_behind_it_whatever_was_lost(tmp_path):
    method, two = METHODS["fast-at"](eps=EPS), replace(SMALL, epochs=2)
    run = train(method, two, tmp_path / "run")
    first, second = run.metrics.read_text().splitlines()
    run.metrics.write_text(f"{first[:40]}\n{second}\n")
    train(method, two, run.path, resume=True)
    assert [record["epoch"] for record in read_records(run.metrics)] == [2]


def test_training_in_float32_is_in_float32_whatever_the_caller_set(tmp_path, monkeypatch):
    seen, train_epoch = [], RUN.train_epoch

    def spy(*args):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.mkldnn.conv.fp32_precision))
        return train_epoch(*args)

    monkeypatch.setattr(RUN, "train_epoch", spy)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        train(METHODS["fast-at"](eps=EPS), replace(SMALL, epochs=1), tmp_path / "run")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [("highest", "ieee")]


def test_a_loss_that_two_classes_do_not_have_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))
    for name in ("cat", "dog"):
        for split in ("train", "test"):
            (folder := tmp_path / "pets" / split / name).mkdir(parents=True)
            for i in range(20):
                pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    settings = replace(SMALL, dataset="folder", data_dir=tmp_path / "pets", batch_size=8)
    with pytest.raises(InputError, match="3 classes"):
        train(FastBAT(eps=EPS, attack_objective="dlr"), settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_run_directory_says_all_that_was_set(tmp_path):
    run = train(METHODS["fast-bat"](eps=8 / 255), SMALL, tmp_path / "a run")
    config = tomllib.loads(run.config.read_text())
    assert (config["method"], config["eps"], config["width"]) == ("fast-bat", 8.0, 4)
    assert {name: config["resolved"][name] for name in ("lam", "model", "max_lr")} == {
        "lam": pytest.approx(255 / 5000), "model": "cnn", "max_lr": 0.1,
    }  # fmt: skip
    records = read_records(run.metrics)
    assert [r["epoch"] for r in records] == [1, 2, 3]
    needed = {
        "loss",
        "lr",
        "active",
        "val_sa",
        "val_ra",
        "seconds",
        "select_seconds",
        "images_per_second",
        "peak_memory_mib",
    }
    assert needed <= records[0].keys()
    assert 0 <= records[0]["active"] <= 1
    assert sorted(f.name for f in run.path.iterdir() if not f.name.startswith(".")) == [
        "best.safetensors", "config.toml", "last.ckpt", "last.safetensors", "metrics.jsonl", "provenance.jsonl",
    ]  # fmt: skip


def test_best_is_the_epoch_with_the_highest_robust_validation_accuracy(tmp_path):
    run = train(METHODS["pgd-at"](eps=EPS), Settings(**{**vars(SMALL), "epochs": 6}), tmp_path / "run")
    records = read_records(run.metrics)
    highest = max((r["val_ra"], r["val_sa"], -r["epoch"]) for r in records)
    assert load_model(run.weights("best"))[1]["epoch"] == -highest[2]
    assert [r["epoch"] for r in records if r["best"]][-1] == -highest[2]


def test_weights_name_no_folder_of_the_machine(tmp_path):
    run = train(METHODS["standard"](eps=EPS), SMALL, tmp_path / "run")
    assert str(tmp_path) not in json.dumps(load_tensors(run.weights("best"))[1])


def test_a_step_costs_the_schedule_its_learning_rate():
    rates = [0.2 * triangular(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(0.2, rel=0.02)
    assert rates.index(max(rates)) in (49, 50)
    assert min(rates) > 0
    assert rates[:50] == pytest.approx(rates[:49:-1])
    assert [b - a for a, b in pairwise(rates[:50])] == pytest.approx([0.004] * 49)


def test_momentum_mirrors_the_rate_as_in_the_released_codes(tmp_path, monkeypatch):
    seen, update = [], epochs.update

    def spy(task, state, batch, step):
        found = update(task, state, batch, step)
        seen.append((state.optimizer.param_groups[0]["lr"], state.optimizer.param_groups[0]["momentum"]))
        return found

    monkeypatch.setattr(epochs, "update", spy)
    small_run(tmp_path, momentum_at_peak=0.8, max_lr=0.2, epochs=3)
    assert len(seen) == 9
    assert [momentum for _, momentum in seen] == pytest.approx([0.9 - 0.1 * lr / 0.2 for lr, _ in seen])
    assert min(momentum for _, momentum in seen) == pytest.approx(0.8, abs=0.02)


def test_labels_are_smoothed_where_it_is_asked_for(tmp_path):
    smooth, plain = small_run(tmp_path, label_smoothing=0.4), train(METHODS["fast-at"](eps=EPS), SMALL, tmp_path / "b")
    assert read_records(smooth.metrics)[0]["loss"] != read_records(plain.metrics)[0]["loss"]
    assert not same(weights(smooth), weights(plain))


def test_the_average_is_the_moving_average_of_weights_and_statistics(tmp_path):
    torch.manual_seed(0)
    model = build_model("preactresnet18", width=2)
    average, expected = start_average(model), {k: t.clone() for k, t in model.state_dict().items()}
    for step in range(60):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(torch.randn_like(tensor) if tensor.is_floating_point() else 1)
        move_average(average, model, 0.8, step)
        share = max(0.2, 9 / (10 + step))  # 1 - (1 + step) / (10 + step) at first
        for name, tensor in model.state_dict().items():
            expected[name] = (1 - share) * expected[name] + share * tensor if tensor.is_floating_point() else tensor
    found = average.state_dict()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    assert not any(weight.requires_grad for weight in average.parameters())


def test_the_average_is_judged_saved_resumed_and_evaluated_beside_the_weights(tmp_path, monkeypatch):
    settings = Settings(**{**vars(SMALL), "ema": 0.9, "precision": "bf16"})
    whole = train(METHODS["fast-at"](eps=EPS), settings, tmp_path / "whole")
    plain = train(METHODS["fast-at"](eps=EPS), Settings(**{**vars(settings), "ema": None}), tmp_path / "plain")
    assert same(weights(whole), weights(plain))  # averaging changes nothing of what is averaged
    assert not same(weights(whole, "last-ema"), weights(whole))
    train_epoch = RUN.train_epoch
    monkeypatch.setattr(RUN, "train_epoch", lambda *args: 1 / 0 if args[1].epoch == 1 else train_epoch(*args))
    with pytest.raises(ZeroDivisionError):
        train(METHODS["fast-at"](eps=EPS), settings, tmp_path / "stopped")
    monkeypatch.undo()
    stopped = train(METHODS["fast-at"](eps=EPS), settings, tmp_path / "stopped", resume=True)
    assert all(same(weights(whole, which), weights(stopped, which)) for which in CHECKPOINTS)
    records = read_records(whole.metrics)
    best = max(records, key=lambda r: (r["val_ema_ra"], r["val_ema_sa"], -r["epoch"]))
    assert load_tensors(whole.weights("best-ema"))[1]["epoch"] == best["epoch"]
    assert [r["epoch"] for r in records if r["best-ema"]][-1] == best["epoch"]
    found = evaluate_target(whole.path, "best-ema", attacks=("clean",), limit=20)
    assert found.settings["target"] == "best-ema.safetensors"


def test_bf16_trains_other_weights_but_keeps_them_float32(tmp_path):
    half, full = (
        train(METHODS["fast-bat"](eps=EPS), Settings(**{**vars(SMALL), "precision": precision}), tmp_path / precision)
        for precision in ("bf16", "float32")
    )
    assert not same(weights(half), weights(full))
    assert {tensor.dtype for tensor in weights(half).values()} == {torch.float32}


def test_a_loss_that_is_no_number_is_told(tmp_path):
    settings = Settings(**{**vars(SMALL), "max_lr": 1e6, "weight_decay": 0.0})
    with pytest.raises(DivergedError, match=r"training diverged in epoch 1: loss (nan|inf), .* with a lower --max-lr"):
        train(METHODS["standard"](eps=EPS), settings, tmp_path / "run")


LEARNS_NOTHING = replace(SMALL, max_lr=1e-9)
LEARNS = replace(SMALL, train_limit=None, width=8, epochs=4)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [("fast-at", LEARNS_NOTHING, True), ("standard", LEARNS_NOTHING, False), ("fast-at", LEARNS, False)],
)
def test_a_run_without_a_robust_epoch_is_told(name, settings, told, tmp_path, capsys):
    run = train(METHODS[name](eps=EPS), settings, tmp_path / "run")
    best = max(record.get("val_ra", 0) for record in read_records(run.metrics))
    said = f"no epoch is robust: RA {best:.1f} % at best on validation images, where always naming one class has "
    assert (said in capsys.readouterr().err) == told


def test_weights_that_are_no_numbers_are_never_saved(tmp_path, monkeypatch):
    def spoil(task, state, batch, step):
        state.model.network[0].bias.data[0] = torch.inf
        return {"loss": torch.tensor(2.0)}

    monkeypatch.setattr(epochs, "update", spoil)
    with pytest.raises(DivergedError, match="loss 2, weights not finite"):
        small_run(tmp_path)
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_training_is_plain_sgd_on_the_methods_losses(tmp_path):
    """Two epochs written out: order, augmentation, triangular rate, momentum, decay, the first N images."""
    how = {"momentum": 0.8, "weight_decay": 0.01, "max_lr": 0.3, "precision": "float32"}
    settings = Settings(epochs=2, width=4, train_limit=150, batch_size=64, **how)
    run = train(METHODS["fast-at"](eps=EPS), settings, tmp_path / "run")
    x, y = load("digits").train.slice(0, 150).tensors()
    card = DATASETS["digits"]
    seed_torch(0, "weights")
    model = build_model("cnn", width=4, mean=card.mean, std=card.std)
    momenta = [torch.zeros_like(w) for w in model.parameters()]
    step, losses = 0, []
    for epoch in range(2):
        order = torch.from_numpy(generator(0, "order", epoch).permutation(150))
        losses.append(0.0)
        for index in order.split(64):
            seed_torch(0, "step", step)
            (loss,) = METHODS["fast-at"](eps=EPS).losses(model, Batch(x[index], y[index]))
            losses[-1] += loss.item() * len(index) / 150
            rate = 0.3 * min(2 * (step + 0.5) / 6, 2 - 2 * (step + 0.5) / 6)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for weight, momentum, gradient in zip(model.parameters(), momenta, gradients, strict=True):
                    momentum.mul_(0.8).add_(gradient + 0.01 * weight)
                    weight -= rate * momentum
            step += 1
    trained = weights(run)
    for name, weight in model.state_dict().items():
        assert torch.allclose(trained[name], weight, atol=1e-6), name
    assert [r["loss"] for r in read_records(run.metrics)] == pytest.approx(losses, rel=1e-5)


def test_cifar10_is_augmented_and_digits_are_not():
    assert (DATASETS["cifar10"].pad, DATASETS["cifar10"].flip) == (4, True)
    assert (DATASETS["digits"].pad, DATASETS["digits"].flip) == (0, False)


def test_the_trainer_shows_augmented_images(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "digits", replace(DATASETS["digits"], pad=2, flip=True))
    seen = []
    spy_on_updates(monkeypatch, lambda batch, step: seen.append(batch))
    train(METHODS["standard"](eps=EPS), SMALL, tmp_path / "run")
    x, _ = load("digits").train.tensors()
    assert all(not torch.equal(batch.x, x[batch.index]) for batch in seen)
    assert not torch.equal(seen[0].view.top[:40], seen[1].view.top[:40])


def test_selection_takes_its_steps_restarts_and_images_from_the_settings(tmp_path, monkeypatch):
    calls = []

    def spy(model, x, y, start, **how):
        calls.append((len(y), how["steps"], how["step"], how["eps"]))
        return torch.zeros_like(x)

    monkeypatch.setattr("fastbat.evaluation.rounds.pgd", spy)
    monkeypatch.setattr("fastbat.training.selection.correct", lambda net, images, size: torch.ones_like(images.y) == 1)
    monkeypatch.setattr("fastbat.evaluation.measures.answered", lambda net, x, y: (torch.ones_like(y) == 1,) * 2)
    small_run(tmp_path, select_steps=7, select_restarts=3, select_limit=33)
    assert calls[:4] == [(33, 7, EPS / 4, EPS)] * 3 + [(33, 1, 1.25 * EPS, EPS)]  # the last is FAST-AT's one step


def test_under_bf16_only_the_forward_pass_is_low(tmp_path, monkeypatch):
    types = []

    class Spy(METHODS["standard"]):
        def losses(self, model, batch):
            model.model.network[0].register_forward_hook(lambda _, __, out: types.append(out.dtype))
            types.append(model(batch.x).dtype)
            types.append((batch.x @ batch.x).dtype)
            yield model(batch.x).square().mean()

    train(Spy(), Settings(**{**vars(SMALL), "epochs": 1, "precision": "bf16"}), tmp_path / "run")
    assert types[:3] == [torch.bfloat16, torch.float32, torch.float32]


def test_an_evaluation_is_written_beside_the_run(tmp_path):
    run = train(METHODS["fast-at"](eps=EPS), SMALL, tmp_path / "run")
    result = evaluate_target(run.path, "last", pgd_steps=2, pgd_restarts=1, limit=30)
    (record,) = read_records(run.evaluations)
    assert percent(record, "clean") == pytest.approx(result.sa.percent, abs=1e-4)
    about = record["settings"]
    assert (about["target"], about["epoch"], record["n"]) == ("last.safetensors", 3, 30)
    assert about["fingerprint"] == load("digits").test.fingerprint
    assert evaluate_target(run.weights("last"), pgd_steps=2, pgd_restarts=1, limit=30).ra_pgd.hits == result.ra_pgd.hits


def small_run(tmp_path, **changes):
    return train(METHODS["fast-at"](eps=EPS), Settings(**{**vars(SMALL), "epochs": 1, **changes}), tmp_path / "run")


def test_a_new_run_never_writes_over_an_old_one(tmp_path):
    run = small_run(tmp_path)
    before = run.weights("last").read_bytes()
    with pytest.raises(InputError, match="already holds something; name another --out, or resume it with --resume"):
        small_run(tmp_path, seed=1)
    assert run.weights("last").read_bytes() == before


def test_a_state_of_other_settings_is_refused(tmp_path):
    run = small_run(tmp_path)
    other = train(METHODS["standard"](eps=EPS), Settings(**{**vars(SMALL), "epochs": 1}), tmp_path / "other")
    run.state.write_bytes(other.state.read_bytes())
    with pytest.raises(
        InputError, match=r"last.ckpt' was written with another config \(method\); train again, into another --out"
    ):
        train(METHODS["fast-at"](eps=EPS), Settings(**{**vars(SMALL), "epochs": 1}), run.path, resume=True)


def test_a_resume_on_other_images_is_refused(tmp_path, monkeypatch):
    run = small_run(tmp_path)
    splits = load("digits")
    changed = replace(splits, train=replace(splits.train, fingerprint="other"))
    monkeypatch.setattr("fastbat.training.prepare.load", lambda *_, **__: changed)
    with pytest.raises(InputError, match="was written with another dataset"):
        train(METHODS["fast-at"](eps=EPS), Settings(**{**vars(SMALL), "epochs": 1}), run.path, resume=True)


def test_a_run_that_lost_its_state_is_not_begun_anew(tmp_path):
    run = small_run(tmp_path)
    run.state.unlink()
    with pytest.raises(InputError, match=r"has finished epochs but no last.ckpt to resume from; name another --out"):
        train(METHODS["fast-at"](eps=EPS), Settings(**{**vars(SMALL), "epochs": 1}), run.path, resume=True)
    assert len(read_records(run.metrics)) == 1


def test_a_resume_with_other_settings_is_refused(tmp_path):
    run = small_run(tmp_path)
    with pytest.raises(InputError, match="was started with seed = 0, not 1; resume with its own settings"):
        train(METHODS["fast-at"](eps=EPS), Settings(**{**vars(SMALL), "epochs": 1, "seed": 1}), run.path, resume=True)


def test_two_processes_cannot_train_in_one_run(tmp_path):
    run = Run(tmp_path / "run")
    with locked(run.path, "training"), pytest.raises(InputError, match="another process is training in"):
        small_run(tmp_path)
    assert not run.config.exists()


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_truncated_checkpoint_is_refused(which, tmp_path):
    run = small_run(tmp_path)
    run.weights(which).write_bytes(run.weights(which).read_bytes()[:-100])
    with pytest.raises(InputError, match=r"is not a whole safetensors file .* copy it again"):
        evaluate_target(run.path, which)
    assert not run.evaluations.exists()


def test_an_altered_checkpoint_is_refused(tmp_path):
    run = small_run(tmp_path)
    data = bytearray(run.weights("best").read_bytes())
    data[-3] ^= 1
    run.weights("best").write_bytes(data)
    with pytest.raises(InputError, match="does not match its checksum: it was altered or damaged"):
        evaluate_target(run.path)


@pytest.mark.parametrize("width", [8, 10**5, 10**9])  # the last two have more memory than there is, or no size at all
def test_a_checkpoint_of_another_architecture_is_refused(width, tmp_path):
    run = small_run(tmp_path)
    tensors, about = load_tensors(run.weights("best"))
    about["model"]["width"] = width
    save_tensors(run.weights("best"), tensors, about)
    with pytest.raises(
        InputError, match=r"holds weights of another architecture than cnn: (size mismatch for network.0.weight|.*size)"
    ):
        evaluate_target(run.path)


def test_a_model_trained_against_no_budget_asks_for_one(tmp_path):
    run = train(METHODS["standard"](eps=EPS), Settings(**{**vars(SMALL), "epochs": 1}), tmp_path / "run")
    with pytest.raises(InputError, match="was trained against no budget; say which one to attack it with: --eps 8"):
        evaluate_target(run.path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"train_limit": 0}, "train_limit is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"max_lr": 0.0}, "max_lr is 0; it must be above 0 and at most a million"),
        ({"precision": "fp16"}, "unknown precision 'fp16'; did you mean 'bf16'"),
        ({"dataset": "digit"}, "unknown data set 'digit'; did you mean 'digits'"),
        ({"model": "preactresnet8"}, "unknown model 'preactresnet8'; did you mean 'preactresnet18'"),
        ({"activation": "relo"}, "unknown activation 'relo'; did you mean 'relu'"),
        ({"width": 0}, "width is 0; a network needs at least 1"),
        ({"device": "tpu"}, "device 'tpu' is not available here"),
        ({"device": "meta"}, "device 'meta' is not available here"),
        ({"max_lr": 1e40}, "max_lr is 1e+40; it must be above 0"),
        ({"momentum": -1.0}, "momentum is -1; it must lie in [0, 1)"),
        ({"weight_decay": float("nan")}, "weight_decay is nan; it must be 0 or above"),
    ],
)
def test_bad_settings_are_one_line_and_nothing_is_written(settings, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        train(METHODS["fast-at"](eps=EPS), Settings(**{**vars(SMALL), **settings}), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
