"""A training that is stopped after any step, and resumed, is the one that never stopped: bit for bit on one CPU."""

import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from fastbat.cli import main
from fastbat.data import DATASETS
from fastbat.errors import InputError, Stopped
from fastbat.files import load_tensors, read_records
from fastbat.methods import METHODS
from fastbat.training import Run, Settings, checkpoints, train
from fastbat.training import epoch as epochs
from fastbat.training.interval import Interval
from fastbat.training.run import CHECKPOINTS

RUN = import_module("fastbat.training.train")  # the package's attribute of that name is the function
EPS = 0.15
SMALL = Settings(epochs=2, width=4, train_limit=150, batch_size=64, select_limit=40, select_steps=1)
HOW = {
    "free-at": {"replays": 3},
    "atta": {"reset": 2},
    "fast-bat": {"ig_mode": "tangent", "ig_every": 2},
    "yopo": {"outer": 2, "inner": 2},
}
TIMES = ("seconds", "select_seconds", "images_per_second", "peak_memory_mib")


def assert_same(run, other):
    """Two runs have the same weights, state and records, but for times."""
    names = [name for name in CHECKPOINTS if run.weights(name).exists()]
    assert names == [name for name in CHECKPOINTS if other.weights(name).exists()]
    for file in (*(each.weights(name).name for each in (run,) for name in names), run.state.name):
        a, b = (load_tensors(each.path / file)[0] for each in (run, other))
        assert a.keys() == b.keys()
        assert [name for name in a if not torch.equal(a[name], b[name])] == []
    records = [timeless(read_records(each.metrics)) for each in (run, other)]
    assert records[0] == records[1]
    assert [list(record) for record in records[0]] == [list(record) for record in records[1]]


def timeless(value):
    if isinstance(value, list):
        return [timeless(each) for each in value]
    return {k: timeless(v) if k == "discarded" else v for k, v in value.items() if k not in TIMES}


def stop_after_updates(monkeypatch):
    """Send this process SIGTERM in every update."""
    update = epochs.update

    def stopped(task, state, batch, step):
        found = update(task, state, batch, step)
        signal.raise_signal(signal.SIGTERM)
        return found

    monkeypatch.setattr(epochs, "update", stopped)


def train_with_stops(method, settings, out):
    """Train and resume until nothing stops it any more; return the run, and how often it was stopped."""
    for stops in range(100):
        try:
            return train(method, settings, out, resume=stops > 0), stops
        except Stopped:
            assert Run(out).path.exists()
    pytest.fail("the training does not come to an end")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_stopped_after_every_step_is_the_one_that_never_stopped(name, tmp_path, monkeypatch):
    how = HOW.get(name, {})
    method = METHODS[name](eps=EPS, **how)
    whole = train(method, SMALL, tmp_path / "whole")
    stop_after_updates(monkeypatch)
    run, stops = train_with_stops(method, SMALL, tmp_path / "stopped")
    assert stops == 2 * 3 * how.get("replays", 1)
    assert_same(run, whole)
    assert not run.step.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"ema": 0.9, "precision": "bf16"},
        {"accumulate": 3, "label_smoothing": 0.3},
        {"momentum_at_peak": 0.8, "model": "preactresnet18", "width": 2, "decay_batchnorm": False},
        {"ga_images": 20, "seed": 3, "batch_size": 50},
        {"checkpoint_every": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_stopped_after_every_step_is_the_one_that_never_stopped(changes, tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "digits", replace(DATASETS["digits"], pad=2, flip=True, rotation=10.0))
    method, settings = METHODS["n-fgsm"](eps=EPS), replace(SMALL, **changes)
    whole = train(method, settings, tmp_path / "whole")
    stop_after_updates(monkeypatch)
    run, stops = train_with_stops(method, settings, tmp_path / "stopped")
    assert stops == 6
    assert_same(run, whole)


def collapse_in(monkeypatch, epoch):
    """Let the epoch numbered `epoch` (from 1) look collapsed the first time it is made in a run."""
    validate = RUN.validate

    def judged(task, state):
        record = validate(task, state)
        if state.epoch + 1 == epoch and not state.discarded:
            record |= {"val_one_step": 60.0, "val_ra": 1.0, "collapsed": True}
        return record

    monkeypatch.setattr(RUN, "validate", judged)


@pytest.mark.parametrize("name", ["fast-at", "free-at", "atta"])
def test_a_roll_back_stopped_after_every_step_is_the_one_that_never_stopped(name, tmp_path, monkeypatch):
    method = METHODS[name](eps=EPS, **HOW.get(name, {}))
    settings = replace(SMALL, on_collapse="rollback", ema=0.9, epochs=3)
    collapse_in(monkeypatch, 2)
    whole = train(method, settings, tmp_path / "whole")
    assert [len(record.get("discarded", [])) for record in read_records(whole.metrics)] == [0, 1, 0]
    stop_after_updates(monkeypatch)
    run, stops = train_with_stops(method, settings, tmp_path / "stopped")
    assert stops == 3 * (2 * HOW.get(name, {}).get("replays", 1) + 2)
    assert_same(run, whole)


def test_a_run_that_stops_at_a_collapse_does_so_on_resume(tmp_path, monkeypatch):
    method, settings = METHODS["fast-at"](eps=EPS), replace(SMALL, on_collapse="stop", epochs=3)
    collapse_in(monkeypatch, 2)
    whole = train(method, settings, tmp_path / "whole")
    stop_after_updates(monkeypatch)
    run, stops = train_with_stops(method, settings, tmp_path / "stopped")
    assert (stops, len(read_records(run.metrics))) == (6, 2)
    assert_same(run, whole)


def test_a_signal_in_the_validation_ends_it_at_once_and_it_is_made_again(tmp_path, monkeypatch):
    method = METHODS["fast-at"](eps=EPS)
    whole = train(method, SMALL, tmp_path / "whole")
    selection, looks = import_module("fastbat.training.selection"), []
    accuracies = selection.accuracies

    def interrupted(*how):
        looks.append(how)
        if len(looks) in (1, 3):
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("the validation went on")
        return accuracies(*how)

    monkeypatch.setattr(selection, "accuracies", interrupted)
    said = []
    for _ in range(2):
        with pytest.raises(Stopped) as stop:
            train(method, SMALL, tmp_path / "run", resume=bool(said))
        said.append(str(stop.value).partition(";")[0])
    assert said == [f"stopped in epoch {epoch} after 3 of 3 updates" for epoch in (1, 2)]
    assert_same(train(method, SMALL, tmp_path / "run", resume=True), whole)


def test_a_killed_process_goes_on_from_its_last_checkpoint_within_the_epoch(tmp_path, monkeypatch):
    """As after SIGKILL: nothing is written where the training ends."""
    method, settings = METHODS["atta"](eps=EPS), replace(SMALL, checkpoint_every=2)
    whole = train(method, settings, tmp_path / "whole")
    update, steps = epochs.update, []

    def killed(task, state, batch, step):
        steps.append(step)
        if len(steps) == 6:
            raise MemoryError
        return update(task, state, batch, step)

    monkeypatch.setattr(epochs, "update", killed)
    with pytest.raises(MemoryError):
        train(method, settings, tmp_path / "run")
    assert load_tensors(Run(tmp_path / "run").step)[1]["partial"]["updates"] == 2
    run = train(method, settings, tmp_path / "run", resume=True)
    assert steps == [0, 1, 2, 3, 4, 5, 5]
    assert_same(run, whole)


def test_minutes_are_counted_from_the_last_checkpoint(tmp_path, monkeypatch):
    clock, seen, save = [0.0], [], checkpoints.save_state
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock[0])
    update = epochs.update

    def slow(task, state, batch, step):
        clock[0] += 40  # seconds
        return update(task, state, batch, step)

    def spy(path, task, state, **how):
        seen.append((path.name, state.epoch, state.partial.updates))
        save(path, task, state, **how)

    monkeypatch.setattr(epochs, "update", slow)
    monkeypatch.setattr(checkpoints, "save_state", spy)
    settings = replace(SMALL, batch_size=30, checkpoint_every="1.5min")
    train(METHODS["standard"](), settings, tmp_path / "run")
    last, step = "last.ckpt", "step.ckpt"
    assert seen == [(last, 0, 0), (step, 0, 3), (last, 1, 0), (step, 1, 3), (last, 2, 0)]


@pytest.mark.parametrize(
    ("given", "found"),
    [(500, Interval(updates=500)), ("500", Interval(updates=500)), ("10min", Interval(seconds=600)),
     ("0.5 min", Interval(seconds=30))],
)  # fmt: skip
def test_an_interval_is_a_number_of_updates_or_of_minutes(given, found):
    assert Interval.of(given) == found


@pytest.mark.parametrize("given", [0, -1, 1.5, "0min", "10s", "min", "often", ""])
def test_another_interval_is_refused(given):
    with pytest.raises(InputError, match=r"checkpoint_every is .*; give a number of updates, such as 500, or minutes"):
        Settings(checkpoint_every=given)


def test_how_often_the_state_is_written_may_change_on_resume_and_is_not_in_the_weights(tmp_path):
    method = METHODS["standard"]()
    run = train(method, replace(SMALL, checkpoint_every=1), tmp_path / "run")
    train(method, replace(SMALL, checkpoint_every="5min"), run.path, resume=True)
    other = train(method, SMALL, tmp_path / "other")
    assert run.weights("last").read_bytes() == other.weights("last").read_bytes()


def test_a_second_signal_does_what_it_did_before(tmp_path, monkeypatch):
    for _ in range(2):
        stop_after_updates(monkeypatch)
    before = signal.signal(signal.SIGTERM, lambda number, frame: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            train(METHODS["standard"](), SMALL, tmp_path / "run")
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_a_suite_a_second_signal_ends_no_step(tmp_path, monkeypatch):
    """A scheduler signals all processes of a job, and the suite passes its own signal on."""
    monkeypatch.setenv("FASTBAT_TRIAL", "1")
    for _ in range(2):
        stop_after_updates(monkeypatch)
    with pytest.raises(Stopped, match="stopped in epoch 1 after 1 of 3 updates"):
        train(METHODS["standard"](), SMALL, tmp_path / "run")
    assert load_tensors(Run(tmp_path / "run").step)[1]["partial"]["updates"] == 1


def test_handlers_are_put_back_and_a_thread_needs_none(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    made = []
    thread = threading.Thread(target=lambda: made.append(train(METHODS["standard"](), SMALL, tmp_path / "thread")))
    thread.start()
    thread.join()
    train(METHODS["standard"](), SMALL, tmp_path / "main")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert_same(made[0], Run(tmp_path / "main"))


def test_a_process_that_is_ended_saves_its_step_and_says_how_to_resume(tmp_path):
    """By SIGTERM; by SIGINT in test_cli.py."""
    few = ["--width", "4", "--train-limit", "100", "--select-limit", "10", "--select-steps", "1", "--eps", "38"]
    out = ["--epochs", "20000", "--out", str(tmp_path / "my run")]
    command = [sys.executable, "-m", "fastbat", "train", *few, *out]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if line.split()[1:2] == ["2/20000"]:
            break
    child.terminate()
    *_, last = child.communicate()[1].splitlines()
    assert child.returncode == 143
    assert last.startswith("fastbat: stopped in epoch ")
    assert last.endswith(f"; resume with: fastbat train --out '{tmp_path / 'my run'}' --resume")
    states = [load_tensors(file)[1] for file in Run(tmp_path / "my run").states]
    updates = max(about["epoch"] + about.get("partial", {"updates": 0})["updates"] for about in states)
    assert f"in epoch {states[0]['epoch'] + 1} after {updates - states[0]['epoch']} of 1 updates" in last


def test_a_signal_that_is_ignored_stays_so(tmp_path, monkeypatch):
    """As that of a shell whose terminal is closed, under nohup."""
    monkeypatch.setattr(epochs, "update", lambda *how: os.kill(os.getpid(), signal.SIGINT) or {"loss": torch.zeros(())})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = train(METHODS["standard"](), SMALL, tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(read_records(run.metrics)) == 2


def test_a_state_within_an_epoch_is_weights_and_json_alone(tmp_path, monkeypatch):
    stop_after_updates(monkeypatch)
    with pytest.raises(Stopped):
        train(METHODS["fast-at"](eps=EPS), SMALL, tmp_path / "run")
    tensors, about = load_tensors(Run(tmp_path / "run").step)
    assert {"sums/loss", "sums/active", "losses/values", "losses/numbers"} <= tensors.keys()
    assert about["partial"].keys() == {"updates", "seconds", "images", "compiled_for"}
    assert json.loads(json.dumps(about)) == about


# What --resume begins, goes on with, and refuses


FLAGS = ["--method", "fast-at", "--eps", "38", "--width", "4", "--train-limit", "60", "--select-limit", "10"]
FEW = [*FLAGS, "--select-steps", "1", "--epochs", "2"]


def test_a_run_that_does_not_exist_is_started_and_the_same_command_goes_on_with_it(tmp_path, capsys, monkeypatch):
    command = ["train", *FEW, "--out", str(tmp_path / "run"), "--resume"]
    stop_after_updates(monkeypatch)
    for status in (143, 143):
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == status
    monkeypatch.undo()
    main(command)
    said = capsys.readouterr().err
    assert [record["epoch"] for record in read_records(tmp_path / "run" / "metrics.jsonl")] == [1, 2]
    assert "nothing is left" not in said
    main(command)
    said = capsys.readouterr().err
    assert f"nothing is left to train in '{tmp_path / 'run'}' after epoch 2, the last\n" in said
    assert "finished; measure it with: fastbat evaluate" in said


def test_a_folder_of_something_else_is_not_started_in(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(SystemExit) as stop:
        main(["train", *FEW, "--out", str(tmp_path), "--resume"])
    assert stop.value.code == 2
    assert "already holds something; name another --out" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("words", ["--out typo --resume", "--resume --out=typo"])
def test_a_name_alone_starts_nothing(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["train", *words.split()])
    assert stop.value.code == 2
    says = (
        "no run to resume: 'typo/config.toml' does not exist; name the run with --out, or add the settings to start it"
    )
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("epochs", ["3", "1"])
def test_more_epochs_are_another_schedule_and_the_way_to_them_is_said_and_works(epochs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["train", *FEW, "--out", "a run"])
    before = {file.name: file.read_bytes() for file in Path("a run").iterdir()}
    with pytest.raises(SystemExit) as stop:
        main(["train", "--out", "a run", "--resume", "--epochs", epochs])
    assert stop.value.code == 2
    says = f"'a run' was started with epochs = 2, not {epochs}: each step's learning rate follows from that; to train "
    *_, line = capsys.readouterr().err.splitlines()
    assert says in line
    assert {file.name: file.read_bytes() for file in Path("a run").iterdir()} == before
    program, *way = shlex.split(line.partition("to train its weights on: ")[2])
    assert program == "fastbat"
    main(way)
    assert len(read_records(Path("NEW", "metrics.jsonl"))) == int(epochs)
    before, now = (Run(name).read_config() for name in ("a run", "NEW"))
    assert {name for name in now if now[name] != before.get(name)} == {"epochs", "init_from"}


# Damaged files


def flip(data):
    altered = bytearray(data)
    altered[len(altered) // 2] ^= 4
    return bytes(altered)


DAMAGE = {
    "truncated": lambda data: data[:-100],
    "altered": flip,
    "without its header": lambda data: bytes([data[0] ^ 1]) + data[1:],  # of its length
    "empty": lambda data: b"",
    "gone": None,
}


def damage(file, how):
    if DAMAGE[how] is None:
        file.unlink()
    else:
        file.write_bytes(DAMAGE[how](file.read_bytes()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a run of three epochs that never stopped, and one that was killed in its third."""
    folder, settings = tmp_path_factory.mktemp("runs"), replace(SMALL, epochs=3, ema=0.9, checkpoint_every=1)
    run = train(METHODS["free-at"](eps=EPS, replays=2), settings, folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        update = epochs.update
        patch.setattr(epochs, "update", lambda *how: 1 / 0 if how[-1] == 14 else update(*how))
        with pytest.raises(ZeroDivisionError):
            train(METHODS["free-at"](eps=EPS, replays=2), settings, folder / "stopped")
    return run, Run(folder / "stopped")


def go_on_in(folder):
    """Resume what may have been damaged."""
    settings = replace(SMALL, epochs=3, ema=0.9, checkpoint_every=1)
    return train(METHODS["free-at"](eps=EPS, replays=2), settings, folder, resume=True)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize(
    ("names", "used"),
    [(["step"], "last"), (["step", "last"], "previous"), (["last"], "step"), (["last", "previous"], "step")],
    ids=lambda each: "-".join(each) if isinstance(each, list) else each,
)
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_used(names, used, how, whole, tmp_path, capsys):
    run, stopped = whole
    shutil.copytree(stopped.path, tmp_path / "run")
    for name in names:
        damage(tmp_path / "run" / f"{name}.ckpt", how)
    found = go_on_in(tmp_path / "run")
    said = capsys.readouterr().err
    if "step" in names and how != "gone":
        assert said.count(f"it is left out, and '{tmp_path / 'run' / used}.ckpt' is used") == len(names)
    assert_same(found, run)
    assert not [file.name for file in found.path.iterdir() if file.name in ("previous.ckpt", "step.ckpt")]


def test_checkpoints_of_which_none_is_whole_are_refused(whole, tmp_path):
    shutil.copytree(whole[1].path, tmp_path / "run")
    for name in ("step", "last", "previous"):
        damage(tmp_path / "run" / f"{name}.ckpt", "truncated")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.suffix == ".ckpt"}
    with pytest.raises(InputError, match=r"step.ckpt' is not a whole safetensors file") as refused:
        go_on_in(tmp_path / "run")
    *_, way = str(refused.value).partition("and no other checkpoint is whole; start from its weights: fastbat ")
    main(shlex.split(way.replace("NEW", str(tmp_path / "new"))))
    assert len(read_records(tmp_path / "new" / "metrics.jsonl")) == 3
    assert all((tmp_path / "run" / name).read_bytes() == content for name, content in before.items())


def test_weights_in_the_place_of_a_checkpoint_are_not_taken_for_one(whole, tmp_path, capsys):
    shutil.copytree(whole[1].path, tmp_path / "run")
    shutil.copy(tmp_path / "run" / "best.safetensors", tmp_path / "run" / "step.ckpt")
    assert_same(go_on_in(tmp_path / "run"), whole[0])
    assert "step.ckpt' holds weights, not a training state; it is left out, and " in capsys.readouterr().err


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_weights_of_the_best_epoch_are_replaced_by_those_of_a_later_one(how, whole, tmp_path, capsys):
    shutil.copytree(whole[1].path, tmp_path / "run")
    damage(tmp_path / "run" / "best.safetensors", how)
    run = go_on_in(tmp_path / "run")
    assert "; the best of the epochs to come takes its place\n" in capsys.readouterr().err
    assert load_tensors(run.weights("best"))[1]["epoch"] == 3
    assert read_records(run.metrics)[-1]["best"]


def test_what_a_killed_process_left_half_written_is_removed(whole, tmp_path):
    shutil.copytree(whole[1].path, tmp_path / "run")
    (tmp_path / "run" / ".last.ckpt.0123abcd").write_bytes(b"half of")
    run = go_on_in(tmp_path / "run")
    assert [file.name for file in run.path.glob(".*")] == [".lock"]


def test_a_full_disk_loses_no_checkpoint(whole, tmp_path, capsys):
    """The system refuses to write more than some kilobytes to a file, from the second epoch on."""
    limits, update = resource.getrlimit(resource.RLIMIT_FSIZE), epochs.update

    def fills(task, state, batch, step):
        if step == 8:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
        return update(task, state, batch, step)

    settings = replace(SMALL, epochs=3, ema=0.9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "update", fills)
        try:
            with pytest.raises(OSError, match="File too large"):
                train(METHODS["free-at"](eps=EPS, replays=2), settings, tmp_path / "run")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_tensors(Run(tmp_path / "run").state)[1]["epoch"] == 1
    assert_same(go_on_in(tmp_path / "run"), whole[0])


def test_a_roll_back_whose_checkpoint_is_damaged_goes_one_epoch_further_back(tmp_path, monkeypatch, capsys):
    method, settings = METHODS["fast-at"](eps=EPS), replace(SMALL, on_collapse="rollback", epochs=4)
    update, validate = epochs.update, RUN.validate

    def judged(task, state):
        collapses = state.epoch + 1 == 3 and state.method is task.method
        return validate(task, state) | ({"val_one_step": 60.0, "val_ra": 1.0, "collapsed": True} if collapses else {})

    def damaged(task, state, batch, step):
        if step == 8 and state.method is task.method:  # the last of the third epoch
            damage(Run(tmp_path / "run").state, "altered")
        return update(task, state, batch, step)

    monkeypatch.setattr(epochs, "update", damaged)
    monkeypatch.setattr(RUN, "validate", judged)
    run = train(method, settings, tmp_path / "run")
    assert "back to epoch 1, then PGD-AT" in capsys.readouterr().err
    records = read_records(run.metrics)
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert [record.get("remedy_steps") for record in records] == [None, 2, 2, 2]
