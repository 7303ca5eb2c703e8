"""A training that fails names the update it failed in, keeps the state before it, and makes it again on request."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fastbat.cli import main
from fastbat.data import load
from fastbat.errors import DivergedError, InputError
from fastbat.files import load_tensors, read_json
from fastbat.methods import METHODS
from fastbat.training import Run, Settings, replay, train
from fastbat.training import epoch as epochs

EPS = 0.15
SMALL = Settings(
    epochs=2, width=4, train_limit=200, batch_size=50, select_limit=20, select_steps=1, precision="float32"
)


@dataclass(frozen=True)
class Poisoned(METHODS["fast-at"]):
    """FAST-AT whose loss, or a gradient alone, is not a number in update `step`."""

    step: int = 6
    gradient: bool = False

    def losses(self, model, batch):
        (loss,) = super().losses(model, batch)
        if batch.step == self.step and len(batch.y) > 8:  # not in the dry run
            zero = next(model.parameters()).sum() * 0
            loss = loss + (zero.abs().sqrt() * 0 if self.gradient else torch.nan)  # 0, of slope infinity times 0
        yield loss


def failed(method, settings, out):
    with pytest.raises(DivergedError) as caught:
        train(method, settings, out)
    assert "\n" not in str(caught.value)
    return str(caught.value), read_json(out / "fault.json"), load_tensors(out / "fault.ckpt")


@pytest.mark.parametrize("every", [1, 3, "10min"])
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("step", [0, 6, 7])  # the last two of the second epoch are 6 and 7
def test_the_update_that_failed_is_named_whenever_it_is_seen(step, gradient, every, tmp_path, monkeypatch):
    settings, number = replace(SMALL, checkpoint_every=every), step % 4 + 1
    said, fault, (tensors, about) = failed(Poisoned(EPS, step=step, gradient=gradient), settings, tmp_path / "run")
    monkeypatch.setattr(epochs, "update", Recorder(epochs.update, step))
    with pytest.raises(ZeroDivisionError):
        train(METHODS["fast-at"](EPS), settings, tmp_path / "sound")
    losses, batch, weights = epochs.update.losses, epochs.update.batch, epochs.update.weights
    assert (fault["epoch"], fault["update"], fault["step"]) == (1 + step // 4, number, step)
    assert fault["images"] == batch.index.tolist()
    last = losses[-1] if number > 1 else None
    assert fault["last_finite_loss"] == last
    what = r"but the gradient of network\.0\.weight is not finite" if gradient else "loss nan"
    assert what.replace("\\", "") in fault["what"]
    assert f"training diverged in epoch {1 + step // 4}: {fault['what']}, first in update {number}" in said
    assert (
        f"on images {', '.join(map(str, fault['images'][:6]))}, ...; look at it with: fastbat train --replay " in said
    )
    assert about["partial"]["updates"] == number - 1 if number > 1 else "partial" not in about
    for name, weight in weights.items():
        assert torch.equal(tensors[f"model/{name}"], weight)


class Recorder:
    """Makes updates up to `step`, and keeps what was there before it."""

    def __init__(self, update, step):
        self.update, self.step, self.losses = update, step, []

    def __call__(self, task, state, batch, step):
        if step == self.step:
            self.batch, self.weights = batch, {k: t.clone() for k, t in state.model.state_dict().items()}
            raise ZeroDivisionError
        found = self.update(task, state, batch, step)
        self.losses.append(found["loss"].item())
        return found


@pytest.mark.parametrize(("gradient", "says"), [(False, "loss nan"), (True, "Function 'SqrtBackward0' returned nan")])
def test_it_is_made_again_in_float32_and_nothing_is_written(gradient, says, tmp_path):
    method = Poisoned(EPS, gradient=gradient)
    failed(method, SMALL, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    then, now = replay(method, SMALL, tmp_path / "run").splitlines()
    assert then.startswith("epoch 2, update 3, in float32: loss ")
    assert now.startswith(f"in float32: {says}")
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


class Dazzled(nn.Module):
    """Logits that are infinite on bright images, in bf16 alone, or anyway."""

    def __init__(self, limit, alone):
        super().__init__()
        self.linear, self.limit, self.alone = nn.Linear(64, 10), limit, alone

    def forward(self, x):
        z = self.linear(x.flatten(1))
        here = z.dtype == torch.bfloat16 or not self.alone
        return z + torch.where(x.mean((1, 2, 3)) > self.limit, torch.inf, 0.0)[:, None] if here else z


@pytest.mark.parametrize(
    ("alone", "says"),
    [
        (True, "loss and gradients are finite; train with --precision float32"),
        (False, "first in the output of network"),
    ],
)
def test_a_fault_of_bf16_is_told_from_one_of_the_network(alone, says, tmp_path, monkeypatch):
    digits = load("digits")
    x, _ = digits.train.slice(0, 200).tensors()
    bright = ((x - digits.card.mean[0]) / digits.card.std[0]).mean((1, 2, 3))
    net = Dazzled(bright[:8].max() + 1e-4, alone)
    monkeypatch.setattr("fastbat.models.external.from_code", lambda *_, num_classes, channels: net)
    settings = replace(SMALL, width=None, model="mine:net", precision="bf16")
    failed(METHODS["standard"](), settings, tmp_path / "run")
    assert says in replay(METHODS["standard"](), settings, tmp_path / "run")


def test_the_command_line_replays_a_run_by_its_name(tmp_path, capsys):
    few = ["--method", "standard", "--width", "4", "--train-limit", "200", "--select-limit", "10", "--max-lr", "1e6"]
    out = str(tmp_path / "a run")
    with pytest.raises(SystemExit) as stop:
        main(["train", *few, "--weight-decay", "0", "--precision", "float32", "--out", out])
    assert stop.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert f"; look at it with: fastbat train --replay '{out}'; " in last
    main(["train", "--replay", out])
    then, now = capsys.readouterr().err.splitlines()
    fault = read_json(Path(out) / "fault.json")
    assert then == f"epoch {fault['epoch']}, update {fault['update']}, in float32: {fault['what']}"
    assert re.match(r"in float32: (Function '\w+' returned nan|loss (nan|inf)|loss .*, but the gradient of )", now), now


def test_a_run_that_did_not_fail_has_nothing_to_replay(tmp_path, capsys):
    run = train(METHODS["fast-at"](8 / 255), SMALL, tmp_path / "run")
    capsys.readouterr()
    for folder, says in ((run.path, "no update failed in this run"), (tmp_path / "typo", "name a run directory")):
        with pytest.raises(SystemExit) as stop:
            main(["train", "--replay", str(folder)])
        err = capsys.readouterr().err
        assert (stop.value.code, err.count("\n")) == (2, 1)
        assert says in err
    with pytest.raises(InputError, match="was started with step_ratio"):
        replay(METHODS["fast-at"](8 / 255, step_ratio=2.0), SMALL, run.path)
    assert not Run(tmp_path / "typo").path.exists()


def test_a_fault_that_does_not_come_again_is_said_as_it_was_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(epochs, "update", lambda task, state, batch, step: {"loss": torch.tensor(torch.inf)})
    with pytest.raises(DivergedError, match="training diverged in epoch 1: loss inf; "):
        train(METHODS["fast-at"](EPS), SMALL, tmp_path / "run")
    assert not Run(tmp_path / "run").fault.exists()
