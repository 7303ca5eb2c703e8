"""Several processes train as one does: in float64 to rounding, with BatchNorm all of them the same bit for bit.

Processes are forked, so that none imports torch anew; one test starts them by torchrun, and kills one.
"""

import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module

import pytest
import torch
from torch import nn

from fastbat import progress
from fastbat.cli import main
from fastbat.data import DATASETS, Batch, Loader, load, unit
from fastbat.data.share import Share, Shares
from fastbat.errors import ELSEWHERE, DivergedError, InputError, Stopped, said_elsewhere
from fastbat.files import load_tensors, read_json, read_records, save_tensors
from fastbat.methods import METHODS
from fastbat.runtime.processes import largest, on_first, rank, start_processes, together, world
from fastbat.training import Run, Settings, train
from fastbat.training import epoch as epochs
from fastbat.training.exchange import shared_gradients
from fastbat.training.gradients import gradients, means
from fastbat.training.memory import whole_memory
from fastbat.training.prepare import prepare
from fastbat.training.state import PartialEpoch
from test_divergence import Picky
from test_resume import collapse_in, timeless

PREPARE = import_module("fastbat.training.prepare")
commands = import_module("fastbat.cli.main")  # the package's attribute of that name is the function
EPS = 0.15
SMALL = Settings(epochs=5, train_limit=98, batch_size=32, select_limit=10, select_steps=1, precision="float32")
PLAIN, WITH_BATCHNORM = (replace(SMALL, model=f"test_processes:{name}") for name in ("plain", "with_batchnorm"))
FEW = {
    "free-at": {"replays": 2},
    "atta": {"reset": 2},
    "yopo": {"outer": 2, "inner": 2},
    "pgd-7": {"steps": 3},
    "trades": {"steps": 3},
    "fast-at-ga": {"mu": 0.5},  # the default is made for smaller eps, and diverges here
}


def method_of(name, **how):
    return METHODS[name](eps=EPS, **FEW.get(name, {}) | how)


def plain(num_classes: int) -> nn.Module:
    """A network in which no image sees another."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, num_classes)).double()


def with_batchnorm(num_classes: int) -> nn.Module:
    """A network with statistics, that drops out."""
    first = nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1)
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(36, num_classes)).double()


@dataclass(frozen=True)
class Averaging(METHODS["standard"]):
    """Standard training on images that lie nearer to the mean of their batch; only if that is bright enough."""

    def losses(self, model, batch):
        mean = batch.averaged(batch.x.mean(0))
        if mean.mean() > 0.2:
            yield from super().losses(model, replace(batch, x=(batch.x + mean) / 2))


# Four batches an epoch, 32 + 32 + 32 + 2 images: the last one has fewer than processes, or one each
AS_ONE = {name: (method_of(name), PLAIN) for name in METHODS} | {
    "in parts": (method_of("fast-bat", ig_every=2), replace(PLAIN, accumulate=2, ema=0.9, label_smoothing=0.2)),
    "images remembered, in parts": (method_of("atta"), replace(PLAIN, accumulate=3)),
    "a mean of the batch": (Averaging(), PLAIN),
    "one perturbation a class": (method_of("fgsm-uap", per="class"), PLAIN),
    "clipped, with soft targets": (method_of("n-fgsm", clip=True, target_mass=0.6), PLAIN),
}
ALIKE = {
    f"{name}, BatchNorm": (method_of(name), replace(WITH_BATCHNORM, ema=0.9))
    for name in ("fast-bat", "fast-at-ga", "free-at", "atta")
}
LONG = replace(PLAIN, epochs=2, batch_size=8)  # 13 updates an epoch
REMEMBERING = ("atta", "free-at", "liet", "fgsm-rs-cs")


@contextmanager
def digits_in_float64(patch):
    """Let digits be float64, cropped and flipped."""
    load, card = PREPARE.load, DATASETS["digits"]

    def loaded(*how, **more):
        splits = load(*how, **more)
        names = ("train", "validation", "test")
        return replace(splits, **{name: in_float64(getattr(splits, name)) for name in names})

    patch.setitem(DATASETS, "digits", replace(card, pad=2, flip=True))
    patch.setattr(PREPARE, "load", loaded)
    yield


def in_float64(images):
    return replace(images, pixels=unit(images.pixels).double())


def updates_of(method, settings):
    """Make all updates of a training; return its weights and memory, and the mean of what each epoch measured."""
    task, state, _ = prepare(method, settings)
    found = {}
    while state.epoch < task.epochs:
        for batch, step in epochs.remaining(task, state):
            state.partial.add(epochs.update(task, state, batch, step), batch.images)
        found |= {f"epoch {state.epoch}/{name}": mean for name, mean in means(state.partial.sums).items()}
        state.epoch, state.partial = state.epoch + 1, PartialEpoch()
    for kind, model in state.models.items():
        found |= {f"{kind}/{name}": tensor for name, tensor in model.state_dict().items()}
    return found | {f"memory/{name}": tensor for name, tensor in whole_memory(state.method).items()}


def all_of_it(folder):
    """What each process does in one go; the files in `folder` say what came out."""
    with pytest.MonkeyPatch.context() as patch, digits_in_float64(patch):
        cases = AS_ONE if world() == 3 else AS_ONE | ALIKE
        found = {name: updates_of(*case) for name, case in cases.items()}
        tensors = {f"{name}:{key}": tensor for name, each in found.items() for key, tensor in each.items()}
        save_tensors(folder / f"{world()}-{rank()}.safetensors", tensors, {})
        rolled_back(folder)
        if world() == 3 and rank() != 1:
            two_of_three_add_up()
        if world() == 2:
            errors(folder)
            diverged(folder)
        for name in REMEMBERING:
            if world() == 2:
                stopped(folder, name)
            else:
                train(method_of(name), LONG, folder / f"{name} {world()}", resume=True)


def two_of_three_add_up():
    """The second process has none of the images, and does not wait."""
    x, y, owners = torch.zeros(2, 3, 2, 2), torch.zeros(2, dtype=torch.int64), torch.tensor([0, 2, 2, 0])
    batch = Batch(x, y, share=Share((owners == rank()).nonzero().flatten(), 4, owners))
    value = torch.full((1, 3, 2, 2), 1.0 + rank()).to(memory_format=torch.channels_last)
    assert torch.equal(batch.total(value), torch.full((1, 3, 2, 2), 4.0))
    assert torch.equal(batch.averaged(value), torch.full((1, 3, 2, 2), 2.0))


def rolled_back(folder):
    with pytest.MonkeyPatch.context() as patch:
        collapse_in(patch, 2)
        settings = replace(PLAIN, on_collapse="rollback", epochs=3, ema=0.9, ga_images=7)
        return train(method_of("atta"), settings, folder / f"rolled back {world()}")


def stopped(folder, name):
    """Let the second process be sent SIGTERM in its third update, and again as torchrun passes it on."""
    update = epochs.update

    def signalled(task, state, batch, step):
        if step == 2 and rank() == 1:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        return update(task, state, batch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "update", signalled)
        with pytest.raises(Stopped) as stop:
            train(method_of(name), LONG, folder / f"{name} 2")
    (folder / f"{name} stopped {rank()}.json").write_text(json.dumps([str(stop.value), stop.value.number]))


def errors(folder):
    """What is refused is so by all, and said by one."""
    (folder / "thesis.tex").touch()
    with pytest.raises(InputError, match="already holds something") as refused:
        train(method_of("fast-at"), PLAIN, folder)
    assert said_elsewhere(refused.value) == (rank() != 0)
    with pytest.raises(InputError, match="device is 'cpu:0', but each of 2 processes takes its own") as refused:
        train(method_of("fast-at"), replace(PLAIN, device="cpu:0"), folder / "new")
    assert said_elsewhere(refused.value) == (rank() != 0)
    assert not (folder / "new").exists()
    for error, number in ((KeyError("only here"), 1), (Unsendable("what", rank()), 0)):
        with pytest.raises((KeyError, RuntimeError), match=str(error)) as caught:
            raise_on(number, error)
        assert said_elsewhere(caught.value) == (rank() != number)
    assert on_first(lambda: f"of {rank()}") == "of 0"
    assert largest(torch.tensor([rank(), 1 - rank()])).tolist() == [1, 1]


def diverged(folder):
    """The first update makes weights that no later one can be made of."""
    settings = replace(PLAIN, epochs=1, max_lr=1e6, weight_decay=1e200)
    with pytest.raises(DivergedError) as error:
        train(method_of("fast-at"), settings, folder / "diverged")
    (folder / f"diverged {rank()}.txt").write_text(str(error.value))


def raise_on(number, error):
    with together():
        if rank() == number:
            raise error


class Unsendable(RuntimeError):
    """An error that pickle cannot make again."""

    def __init__(self, what, process):
        super().__init__(f"Unsendable: {what}")


def fork(count, folder, target, *given):
    """Run `target` in so many processes that know each other."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(i, count, port, folder, target, given)) for i in range(count)]
    for each in children:
        each.start()
    while not any(each.exitcode for each in children):
        running = [each.sentinel for each in children if each.exitcode is None]
        if not running:
            break
        assert multiprocessing.connection.wait(running, timeout=1000)
    for each in children:  # what one has failed in the others may wait for
        each.kill()
        each.join()
    logs = "\n".join((folder / f"log {i}").read_text()[-3000:] for i in range(count))
    assert [each.exitcode for each in children] == [0] * count, logs


def child(number, count, port, folder, target, given):
    places = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in places.items()}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "one"}
    with (folder / f"log {number}").open("w", buffering=1) as sys.stderr:
        try:
            start_processes()
            target(*given)
            print("CPU", time.process_time(), file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            os._exit(1)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder in which one, two and three processes have done all of it."""
    folder = tmp_path_factory.mktemp("processes")
    fork(2, folder, all_of_it, folder)
    for name in REMEMBERING:
        for count in (1, 3):
            shutil.copytree(folder / f"{name} 2", folder / f"{name} {count}")
    fork(3, folder, all_of_it, folder)
    all_of_it(folder)
    return folder


def results(folder, count, number=0):
    found = load_tensors(folder / f"{count}-{number}.safetensors")[0]
    return {
        name: {key.partition(":")[2]: tensor for key, tensor in found.items() if key.partition(":")[0] == name}
        for name in {key.partition(":")[0] for key in found}
    }


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", AS_ONE)
def test_twenty_updates_are_those_of_one_process(name, count, done):
    one, several = (results(done, n)[name] for n in (1, count))
    assert one.keys() == several.keys()
    assert any(key.startswith("memory/") for key in one) == bool(AS_ONE[name][0].traits.memory)
    for key, tensor in one.items():
        if not key.endswith("/term"):  # a quotient of norms, of the gradients of each process
            assert_close(several[key], tensor)


def assert_close(found, expected):
    """Equal but for rounding; a memory may have been given more rows, of zeros."""
    if found.ndim:
        rows = min(len(found), len(expected))
        assert not found[rows:].any()
        assert not expected[rows:].any()
        found, expected = found[:rows], expected[:rows]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", AS_ONE | ALIKE)
def test_after_every_update_the_processes_have_the_same_weights_bit_for_bit(name, done):
    first, second = (results(done, 2, number)[name] for number in (0, 1))
    for key in first.keys() - {key for key in first if key.startswith("memory/")}:
        assert torch.equal(first[key], second[key]), key


@pytest.mark.parametrize("name", ALIKE)
def test_batchnorms_counters_are_those_of_one_process(name, done):
    counts = [results(done, n)[name]["model/network.1.num_batches_tracked"] for n in (1, 2)]
    assert counts[0] == counts[1] > 19


@pytest.mark.parametrize("count", [2, 3])
def test_a_training_with_average_and_roll_back_is_that_of_one_process(count, done):
    one, several = (Run(done / f"rolled back {number}") for number in (1, count))
    for file in ("last", "last-ema", "best"):
        found, expected = (load_tensors(run.weights(file))[0] for run in (several, one))
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            assert_close(found[key], tensor)
    records = [timeless(read_records(run.metrics)) for run in (one, several)]
    assert [len(record.get("discarded", [])) for record in records[0]] == [0, 1, 0]
    for record in (*records[0], *records[1]):
        record.pop("discarded", None)
    for a, b in zip(*records, strict=True):
        assert a.keys() == b.keys()
        assert b == pytest.approx(a, abs=1e-9)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", REMEMBERING)
def test_what_two_processes_began_one_or_three_finish(name, count, done, tmp_path, monkeypatch):
    said, number = json.loads((done / f"{name} stopped 0.json").read_text())
    assert (said, number) == tuple(json.loads((done / f"{name} stopped 1.json").read_text()))
    assert number == signal.SIGTERM
    updates = 13 * method_of(name).traits.replays
    resume = f"torchrun --nproc-per-node 2 -m fastbat train --out '{done / f'{name} 2'}' --resume"
    assert said == f"stopped in epoch 1 after 8 of {updates} updates; resume with: {resume}"
    with digits_in_float64(monkeypatch):
        whole = train(method_of(name), LONG, tmp_path / "whole")
    finished = Run(done / f"{name} {count}")
    for file in ("last.safetensors", "last.ckpt"):
        found, expected = (load_tensors(run.path / file)[0] for run in (finished, whole))
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            assert_close(found[key], tensor)
    processes = [record.get("processes") for record in read_records(finished.provenance)]
    assert processes == [2, None if count == 1 else count]


def test_a_fault_is_found_by_all_and_written_by_the_first(done):
    first, second = ((done / f"diverged {number}.txt").read_text() for number in (0, 1))
    assert first == second
    assert "training diverged in epoch 1: loss " in first
    fault = read_json(done / "diverged" / "fault.json")
    assert (fault["update"], len(fault["images"])) == (2, 32)
    assert "first in update 2, after 2." in first
    assert (done / "diverged" / "fault.ckpt").exists()


def test_only_what_is_wrong_with_another_process_alone_is_said_by_it(monkeypatch, capsys):
    for name in ("speaks", "name"):
        monkeypatch.setattr(progress, name, getattr(progress, name))
    progress.let_first_speak(2)
    progress.say("an epoch")
    for error, said in ((InputError("no room"), "fastbat: process 2: no room\n"), (InputError("no way"), "")):
        if not said:
            error.add_note(ELSEWHERE)
        monkeypatch.setattr(commands, "build_app", lambda words, error=error: raising(error))
        with pytest.raises(SystemExit) as stop:
            main(["train"])
        assert stop.value.code == 2
        assert capsys.readouterr().err == said


def raising(error):
    raise error


def test_a_share_for_which_a_method_yields_nothing_is_left_out_of_the_mean(tmp_path):
    """By the first label of each share, so that several processes are not one."""
    fork(2, tmp_path, pick, tmp_path)
    model, skipped = seeded(plain), 0
    for shares in zip(*(loader_of(Shares(number, 2)).epoch(0) for number in (0, 1)), strict=True):
        kept = [share for share in shares if share.y[0] >= 7]
        skipped += not kept
        if kept:
            x, y = (torch.cat([getattr(share, name) for share in kept]) for name in ("x", "y"))
            gradients(METHODS["standard"](), model, Batch(x, y), 1, ())
            descend(model)
    assert 0 < skipped < 6
    for number in (0, 1):
        found = load_tensors(tmp_path / f"{number}.safetensors")[0]
        for name, weight in model.state_dict().items():
            assert_close(found[name], weight)


def pick(folder):
    model = seeded(plain)
    for batch in loader_of(Shares(rank(), 2)).epoch(0):
        if shared_gradients(Picky(least=7), model, batch, 1, (), ()):
            descend(model)
    save_tensors(folder / f"{rank()}.safetensors", model.state_dict(), {})


def seeded(network):
    torch.manual_seed(0)
    return network(10)


def loader_of(shares):
    return Loader(in_float64(load("digits").train.slice(0, 60)), 10, 0, shares=shares)


@torch.no_grad()
def descend(model):
    for weight in model.parameters():
        weight -= 0.1 * weight.grad
        weight.grad = None


KILLED = """
import os, signal, sys
from fastbat.cli import main
from fastbat.training import epoch

update = epoch.update


def killed(task, state, batch, step):
    if (step, os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == (8, "1", "0"):
        os.kill(os.getpid(), signal.SIGKILL)
    return update(task, state, batch, step)


epoch.update = killed
main(sys.argv[1:])
"""


def test_a_killed_process_is_started_again_and_the_result_is_that_of_an_undisturbed_run(tmp_path):
    """By torchrun, in the second update after a checkpoint; one process says what there is to say."""
    (tmp_path / "killed.py").write_text(KILLED)
    few = "--method fast-at --eps 38 --width 4 --train-limit 150 --batch-size 32 --epochs 2 --select-limit 20"
    words = ["train", *few.split(), "--select-steps=1", "--checkpoint-every=2", "--resume", "--out"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    run, whole = Run(tmp_path / "run"), Run(tmp_path / "whole")
    command = [*torchrun, "killed.py", *words, "run"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500, check=False)
    assert finished.returncode == 0, finished.stderr
    fork(2, tmp_path, main, [*words, str(whole.path)])
    for file in ("last.safetensors", "best.safetensors", "last.ckpt"):
        assert (run.path / file).read_bytes() == (whole.path / file).read_bytes()
    assert timeless(read_records(run.metrics)) == timeless(read_records(whole.metrics))
    assert len(read_records(run.provenance)) == 2
    assert "Traceback" not in finished.stderr
    lines = finished.stderr.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert sum(line.startswith("finished; measure it with") for line in lines) == 1
