"""Auditing: models of others in every form, evaluations interrupted and shared out, examples saved."""

import hashlib
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fastbat
from conftest import percent, trained, trained_cnn
from fastbat import METHODS, Settings, build_model, train
from fastbat.audit import Origin, diagnose_target, evaluate_target
from fastbat.audit.claims import claims
from fastbat.audit.readings import Reading, find_hint
from fastbat.audit.target import undescribed
from fastbat.cli import main
from fastbat.data import load
from fastbat.errors import InputError
from fastbat.evaluation import Theory, flatness, frozen, loss_landscape
from fastbat.evaluation.attacked import AttackedModel
from fastbat.evaluation.measures import Outcome, attack
from fastbat.evaluation.minibatch import Gradient, bias_and_variance
from fastbat.files import load_tensors, read_records
from fastbat.models import Normalize, save_model
from fastbat.provenance import commit

EPS = 0.1
# Of fewer than 50 images the red flags' own attacks do not run: FLAGGED is ten times as dear.
FEW = {"attacks": ["clean", "pgd"], "eps": EPS, "pgd_steps": 3, "pgd_restarts": 2, "limit": 40}
FLAGGED = FEW | {"limit": 60}
CNN = Origin(dataset="digits", model="cnn", width=8, mean="0.3", std="0.4")


@pytest.fixture(scope="module")
def digits_net():
    torch.manual_seed(0)
    model, _, _ = trained_cnn()
    return model


@pytest.fixture(scope="module")
def expected(digits_net):
    """What the model gives when it is measured from Python."""
    return hits(fastbat.evaluate(digits_net, load("digits").test, **FEW))


def hits(result):
    return [accuracy.hits for accuracy in result.accuracies]


def test_a_state_dict_of_a_named_network(digits_net, expected, tmp_path):
    torch.save(digits_net.network.state_dict(), tmp_path / "net.pt")
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in digits_net.network.state_dict().items()}}, tmp_path / "b.pth"
    )
    for name in ("net.pt", "b.pth"):
        result = evaluate_target(tmp_path / name, origin=CNN, **FEW)
        assert hits(result) == expected
        assert (result.settings["target"], result.settings["epoch"], result.settings["dataset"]) == (
            name,
            None,
            "digits",
        )


def test_a_plain_safetensors_file_needs_the_network_named(digits_net, expected, tmp_path):
    from safetensors.torch import save_file

    save_file(digits_net.network.state_dict(), tmp_path / "net.safetensors")
    assert hits(evaluate_target(tmp_path / "net.safetensors", origin=CNN, **FEW)) == expected
    with pytest.raises(InputError, match="holds weights alone; say what network they are of: --model"):
        evaluate_target(tmp_path / "net.safetensors", origin=Origin(dataset="digits"), **FEW)
    with pytest.raises(InputError, match=r"does not fit the model: .* is \(8, .*\) in it and \(4, "):
        evaluate_target(tmp_path / "net.safetensors", origin=Origin(dataset="digits", model="cnn", width=4), **FEW)


@pytest.fixture
def opened_program(digits_net, tmp_path, monkeypatch):
    """The name of a function that opens net.pt2, a torch.export program for batches of any size."""
    program = torch.export.export(digits_net, (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: torch.export.Dim("b")},))
    torch.export.save(program, tmp_path / "net.pt2")
    (tmp_path / "opens_a_program.py").write_text(
        "import torch\n\n\ndef net():\n    return torch.export.load('net.pt2').module()\n"
    )
    monkeypatch.chdir(tmp_path)
    return "opens_a_program:net"


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")  # torch 2.9, of its own loading
def test_a_program_that_a_function_opens(opened_program, expected):
    result = evaluate_target(opened_program, origin=Origin(dataset="digits"), **FEW)
    assert hits(result) == expected
    assert len(result.settings["weights"]) == 64
    again = Origin(dataset="digits", mean="0", std="1")
    assert hits(evaluate_target(opened_program, origin=again, **FEW)) == expected


def test_a_program_is_not_opened(opened_program):
    with pytest.raises(InputError, match=r"'net.pt2' is a torch.export or TorchScript program, .*: module:function"):
        evaluate_target("net.pt2", origin=Origin(dataset="digits"), **FEW)


def test_a_file_that_names_code_runs_it_only_where_the_code_is_named_too(digits_net, tmp_path, monkeypatch):
    (tmp_path / "named_in_a_file.py").write_text(
        "from pathlib import Path\nfrom torch import nn\nPath('ran').touch()\n\n\n"
        "def net(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model = nn.Sequential(OrderedDict(normalize=Normalize([0.0], [1.0]), network=network))
    description = {"name": "named_in_a_file:net", "num_classes": 10, "mean": [0.0], "std": [1.0]}
    save_model(Path("theirs.safetensors"), model, about(digits_net) | {"model": description})
    with pytest.raises(InputError, match=r"would run named_in_a_file:net; .* say so: --model named_in_a_file:net"):
        evaluate_target("theirs.safetensors", **FEW)
    assert not Path("ran").exists()
    evaluate_target("theirs.safetensors", origin=Origin(model="named_in_a_file:net"), **FEW)
    assert Path("ran").exists()


def test_a_run_is_attacked_with_examples_made_on_a_program(opened_program, digits_net, tmp_path):
    save_model(tmp_path / "mine.safetensors", digits_net, about(digits_net))
    surrogates = {"net": opened_program}
    result = evaluate_target(
        tmp_path / "mine.safetensors", attacks=["clean", "transfer"], surrogates=surrogates, eps=EPS, limit=40
    )
    assert result["transfer-net"].hits < result.sa.hits
    assert result.settings["dataset"] == "digits"


def test_code_of_ones_own_behind_a_normalisation(expected, tmp_path, monkeypatch, digits_net):
    torch.save(digits_net.network.state_dict(), tmp_path / "w.pt")
    (tmp_path / "mine_to_audit.py").write_text(
        "import torch\nfrom fastbat.models.cnn import cnn\nfrom torch import nn\n"
        "def net(num_classes):\n    model = cnn(num_classes=num_classes, channels=1, width=8, activation=nn.ReLU)\n"
        "    model.load_state_dict(torch.load('w.pt'))\n    return model\n"
    )
    monkeypatch.chdir(tmp_path)
    origin = Origin(dataset="digits", mean="0.3", std="0.4")
    assert hits(evaluate_target("mine_to_audit:net", origin=origin, **FEW)) == expected


def test_an_onnx_model_is_a_black_box_and_its_number_an_upper_bound(digits_net, tmp_path, capsys):
    for name, dynamic in (("any.onnx", {0: "batch"}), ("two.onnx", None)):
        write_onnx(digits_net, tmp_path / name, dynamic)
    how = {"eps": EPS, "limit": 60, "origin": Origin(dataset="digits")}
    save_model(tmp_path / "other.safetensors", digits_net, about(digits_net))
    attacks = ["clean", "noise", "transfer"]
    surrogates = {"itself": str(tmp_path / "other.safetensors")}
    results = [
        evaluate_target(tmp_path / name, attacks=attacks, surrogates=surrogates, **how)
        for name in ("any.onnx", "two.onnx")
    ]
    white = fastbat.evaluate(digits_net, load("digits").test, attacks=["clean"], limit=60)
    assert hits(results[0]) == hits(results[1])
    assert results[0].sa.hits == white.sa.hits
    assert results[0]["transfer-itself"].hits < 50
    assert str(results[0]["transfer-itself"]).startswith("at most ")
    assert not results[0].sa.upper_bound
    assert results[0].red_flags == ()
    assert results[0].not_judged == ("no gradients: only black-box attacks ran, so accuracies are upper bounds",)
    with pytest.raises(InputError, match="no gradient with respect to the images, which pgd would climb"):
        evaluate_target(tmp_path / "any.onnx", attacks=["clean", "pgd"], **how)


def write_onnx(model, path, dynamic):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    nodes, last = [], "images"

    def add(kind, inputs, **how):
        nonlocal last
        name = f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [name], **how))
        last = name

    add("Sub", [last, "normalize.mean"])
    add("Div", [last, "normalize.std"])
    for name, module in model.network.named_children():
        parameters = [f"network.{name}.weight", f"network.{name}.bias"]
        if isinstance(module, nn.Conv2d):
            add("Conv", [last, *parameters], pads=[1] * 4, strides=list(module.stride), kernel_shape=[3, 3])
        elif isinstance(module, nn.Linear):
            add("Gemm", [last, *parameters], transB=1)
        else:
            add({"ReLU": "Relu", "Flatten": "Flatten", "AdaptiveAvgPool2d": "Identity"}[type(module).__name__], [last])
    batch = "batch" if dynamic else 2
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 1, 8, 8])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def about(model):
    how = {"name": "cnn", "num_classes": 10, "width": 8, "activation": "relu", "mean": [0.3], "std": [0.4]}
    classes = [str(i) for i in range(10)]
    config = {"eps": 25.5, "dataset": "digits"}
    return {"model": how, "dataset": {"name": "digits", "classes": classes}, "config": config, "epoch": 1}


def test_a_timm_network_by_name(monkeypatch):
    timm = pytest.importorskip("timm")
    made = timm.create_model("resnet10t", num_classes=10)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: made)
    x, y = torch.rand(4, 3, 64, 64), torch.arange(4)
    reading, read = undescribed("timm/resnet10t", "timm", Origin(), 10, 3)
    model = reading.model
    assert read == {}
    assert model[0].mean.flatten().tolist() == pytest.approx(made.pretrained_cfg["mean"])
    assert fastbat.evaluate(model, (x, y), eps=EPS, attacks=["clean", "fgsm"]).n == 4


# Files that would run code


class Bomb:
    def __reduce__(self):
        return (Path("/tmp/fastbat-was-here").touch, ())


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    torch.save({"weights": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(InputError, match="holds getattr next to tensors, which only running code opens"):
        evaluate_target(tmp_path / "bomb.pt", origin=CNN, **FEW)
    assert not Path("/tmp/fastbat-was-here").exists()


class Fickle(nn.Module):
    """A network that hides its weights from state_dict, and is not what its images are called."""

    def __init__(self, network, shift=0.0):
        super().__init__()
        self.hidden, self.shift = (network,), shift

    def forward(self, x):
        return self.hidden[0](x) + self.shift * x.mean((1, 2, 3))[:, None] * torch.arange(10.0)


def test_models_without_an_image_gradient_are_black_boxes():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.scale.detach().requires_grad_() * x.detach().flatten(1)[:, :4]

    x = torch.rand(4, 3, 4, 4)
    with pytest.raises(InputError, match="no gradient with respect to the images, which pgd would climb"):
        fastbat.evaluate(Detached(), (x, torch.arange(4)), eps=EPS)
    result = fastbat.evaluate(Detached(), (x, torch.arange(4)), eps=EPS, attacks=["clean", "noise"])
    assert result["noise"].upper_bound


def test_whatever_a_model_raises_on_the_images_is_one_line():
    class Strict(nn.Module):
        def forward(self, x):
            assert x.shape[2] == 224, "Input height doesn't match model (224)."
            return x

    with pytest.raises(InputError, match=r"does not take torch.float32 images .*AssertionError: Input height doesn't"):
        fastbat.evaluate(Strict(), (torch.rand(4, 3, 4, 4), torch.arange(4)), eps=EPS)


def test_a_state_that_is_no_tensor_is_part_of_the_identity(digits_net):
    class Extra(nn.Module):
        def __init__(self, note):
            super().__init__()
            self.network, self.note = digits_net, note

        def forward(self, x):
            return self.network(x)

        def get_extra_state(self):
            return {"note": self.note}

        def set_extra_state(self, state):
            self.note = state["note"]

    how = {"eps": EPS, "attacks": ["clean"], "limit": 5}
    one, other = (fastbat.evaluate(Extra(note), load("digits").test, **how).settings["weights"] for note in "ab")
    assert one != other


# Interrupted, shared out


def test_another_model_in_the_same_folder_takes_nothing_over(digits_net, tmp_path, monkeypatch):
    data, models = load("digits").test, (Fickle(digits_net), Fickle(digits_net, 0.5))
    alone = [hits(fastbat.evaluate(model, data, **FEW)) for model in models]
    monkeypatch.setattr("fastbat.evaluation.journal.Journal.remove", lambda self: None)
    together = [hits(fastbat.evaluate(model, data, resume_in=tmp_path, **FEW)) for model in models]
    assert together == alone
    assert alone[0] != alone[1]


def test_what_a_random_model_got_right_is_kept_over_an_interruption(digits_net, tmp_path, monkeypatch):
    class Noisy(nn.Module):
        def forward(self, x):
            return digits_net(x + 0.5 * torch.randn_like(x))

    how = FEW | {"batch_size": 10, "attacks": ["clean", "fgsm"]}
    whole = fastbat.evaluate(Noisy(), load("digits").test, **how)
    real, count = fastbat.evaluation.runner.attack, []

    def stops(*args):
        count.append(1)
        return real(*args) if len(count) != 3 else 1 / 0

    monkeypatch.setattr("fastbat.evaluation.runner.attack", stops)
    with pytest.raises(ZeroDivisionError):
        fastbat.evaluate(Noisy(), load("digits").test, resume_in=tmp_path, **how)
    torch.manual_seed(1)
    resumed = fastbat.evaluate(Noisy(), load("digits").test, resume_in=tmp_path, **how)
    assert hits(resumed) == hits(whole)


def test_two_processes_do_not_make_the_same_evaluation_at_once(digits_net, tmp_path, monkeypatch):
    real = fastbat.evaluation.runner.attack

    def again(*args):
        monkeypatch.setattr("fastbat.evaluation.runner.attack", real)
        with pytest.raises(InputError, match="another process is making this evaluation in"):
            fastbat.evaluate(digits_net, load("digits").test, resume_in=tmp_path, **FEW)
        return real(*args)

    monkeypatch.setattr("fastbat.evaluation.runner.attack", again)
    fastbat.evaluate(digits_net, load("digits").test, resume_in=tmp_path, **FEW)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_evaluation_goes_on_at_the_next_block(digits_net, tmp_path, monkeypatch):
    save_model(tmp_path / "net.safetensors", digits_net, about(digits_net))
    how = {"out": tmp_path / "out", "attacks": ["clean", "fgsm", "pgd"], "pgd_steps": 3, "pgd_restarts": 2} | {
        "limit": 60, "batch_size": 30, "precision": "float32",
    }  # fmt: skip
    whole = evaluate_target(tmp_path / "net.safetensors", **(how | {"out": tmp_path / "whole"}))
    real, count = fastbat.evaluation.runner.attack, []

    def stops(*args, **kwargs):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr("fastbat.evaluation.runner.attack", stops)
    with pytest.raises(KeyboardInterrupt):
        evaluate_target(tmp_path / "net.safetensors", **how)
    (journal,) = (tmp_path / "out").glob(".evaluation-*.jsonl")
    assert len(read_records(journal)) == 5  # two blocks of clean, two of fgsm and the first of pgd
    with journal.open("a") as file:
        file.write('{"job": "pgd@25.5", "blo')  # as a crash would leave it
    resumed = evaluate_target(tmp_path / "net.safetensors", **how)
    blocks = 2 * (1 + 2 + 7)  # clean, fgsm and pgd, and what the red flags are judged by
    assert len(count) - 4 + 5 == blocks
    assert hits(resumed) == hits(whole)
    assert [a.rejected for a in resumed.accuracies] == [a.rejected for a in whole.accuracies]
    assert not list((tmp_path / "out").glob(".evaluation-*"))
    (record,) = read_records(tmp_path / "out" / "evaluation.jsonl")
    assert percent(record, "pgd") == whole.ra_pgd.percent


def test_what_was_finished_under_other_settings_is_not_taken(digits_net, tmp_path, monkeypatch):
    data = load("digits").test
    monkeypatch.setattr("fastbat.evaluation.journal.Journal.remove", lambda self: None)
    for change in ({}, {"seed": 1}, {"pgd_steps": 4}, {"limit": 30}, {"eps": 0.2}):
        fastbat.evaluate(digits_net, data, resume_in=tmp_path, **(FEW | change))
    with torch.no_grad():
        digits_net.network[0].weight.add_(1e-3)
    fastbat.evaluate(digits_net, data, resume_in=tmp_path, **FEW)
    digits_net.network[0].weight.data.sub_(1e-3)
    assert len(list(tmp_path.glob(".evaluation-*.jsonl"))) == 6
    calls = []
    monkeypatch.setattr("fastbat.evaluation.runner.attack", lambda *_: calls.append(1) or Outcome(*[None] * 3))
    fastbat.evaluate(digits_net, data, resume_in=tmp_path, **(FEW | {"seed": 1}))
    assert calls == []


def test_an_evaluation_that_ends_while_it_is_being_kept_is_kept_once(digits_net, tmp_path, monkeypatch):
    save_model(tmp_path / "net.safetensors", digits_net, about(digits_net))
    examples = tmp_path / "x.safetensors"

    def made():
        how = FEW | {"out": tmp_path / "out", "save_adversarial": examples}
        return evaluate_target(tmp_path / "net.safetensors", **how)

    def ended(*args):
        raise KeyboardInterrupt

    for where in ("fastbat.audit.audit.add_once", "fastbat.evaluation.journal.Journal.remove"):
        with monkeypatch.context() as patch:
            patch.setattr(where, ended)
            with pytest.raises(KeyboardInterrupt):
                made()
        assert load_tensors(examples)[0]
    (first,) = read_records(tmp_path / "out" / "evaluation.jsonl")
    min(tmp_path.glob("out/.evaluation-*.safetensors")).unlink()  # it was ended in the midst of being removed
    assert made().record()["accuracies"] == first["accuracies"]
    assert len(read_records(tmp_path / "out" / "evaluation.jsonl")) == 1
    assert not list(tmp_path.glob("out/.evaluation-*"))
    with pytest.raises(InputError, match="exists already"):
        made()


def test_processes_share_the_images_with_the_same_result(digits_net, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "net.safetensors", digits_net, about(digits_net))
    how = "--attacks clean,pgd --pgd-steps 3 --pgd-restarts 2 --limit 60 --batch-size 20 --json"
    how = [*how.split(), "--save-adversarial", "FILE.safetensors", "--out", "OUT"]
    results = {}
    for processes in (1, 2):
        words = [word.replace("FILE", f"adv{processes}").replace("OUT", f"out{processes}") for word in how]
        command = ["evaluate", "net.safetensors", *words]
        if processes == 1:
            capsys.readouterr()
            main(command)
            printed = capsys.readouterr().out
        else:
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            done = subprocess.run([*torchrun, "-m", "fastbat", *command], capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
            printed = done.stdout
        (results[processes],) = (json.loads(line) for line in printed.splitlines())
    keys = ("attack", "hits", "rejected", "per_class")
    one, two = ([[a[key] for key in keys] for a in results[n]["accuracies"]] for n in (1, 2))
    assert one == two
    tensors = [load_tensors(tmp_path / f"adv{n}.safetensors")[0] for n in (1, 2)]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert len(read_records(tmp_path / "out2" / "evaluation.jsonl")) == 1


def test_an_evaluation_that_is_killed_goes_on(digits_net, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "net.safetensors", digits_net, about(digits_net))
    how = "--attacks clean,pgd --pgd-steps 60 --limit 40 --pgd-restarts 1 --batch-size 8 --json --out out"
    command = ["evaluate", "net.safetensors", *how.split()]
    process = [sys.executable, "-m", "fastbat", *command]
    child = subprocess.Popen(process, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not [f for f in tmp_path.glob("out/.evaluation-*.jsonl") if len(read_records(f)) > 2]:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    (journal,) = tmp_path.glob("out/.evaluation-*.jsonl")
    finished = journal.read_text()
    capsys.readouterr()
    main(command)
    seconds = sum(json.loads(line)["seconds"] for line in finished.splitlines() if line.endswith("}"))
    pgd = json.loads(capsys.readouterr().out)["accuracies"][1]
    assert pgd["seconds"] >= round(seconds, 3)  # those of the first process are counted
    assert not journal.exists()


def truncated(data):
    return data[:-1]


def altered(data):
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def another_image(data):
    """Let the first image that PGD broke be another one."""
    place = data.index(b'"broken": [', data.index(b'"job": "pgd@')) + len(b'"broken": [')
    return data[:place] + b"9" + data[place + 1 :]


def test_a_block_that_was_altered_or_cut_short_is_attacked_again(digits_net, tmp_path, monkeypatch):
    data, how = load("digits").test.tensors(), FEW | {"batch_size": 20, "attacks": ["clean", "pgd"], "limit": 40}
    first, real, count = tmp_path / "first", fastbat.evaluation.runner.attack, []
    with monkeypatch.context() as patch:
        patch.setattr("fastbat.evaluation.journal.Journal.remove", lambda self: None)
        whole = fastbat.evaluate(digits_net, data, **how, resume_in=first, save_adversarial=tmp_path / "a.safetensors")

    def counted(*args, **kwargs):
        count.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr("fastbat.evaluation.runner.attack", counted)
    examples, lines = ".evaluation-*-pgd@*.safetensors", ".evaluation-*.jsonl"
    for harm, pattern in ((truncated, examples), (altered, examples), (None, examples), (another_image, lines)):
        folder = tmp_path / "again"
        shutil.copytree(first, folder)
        file = min(folder.glob(pattern))
        if harm is None:
            file.unlink()
        else:
            file.write_bytes(harm(file.read_bytes()))
        (folder / f".{file.name}.0a1b2c3d").write_bytes(b"of a process that was killed")
        again = fastbat.evaluate(digits_net, data, **how, resume_in=folder, save_adversarial=tmp_path / "b.safetensors")
        assert len(count) == 1
        assert hits(again) == hits(whole)
        found, other = (load_tensors(tmp_path / f"{name}.safetensors")[0] for name in "ab")
        assert found.keys() == other.keys()
        assert all(torch.equal(found[name], other[name]) for name in found)
        assert not list(folder.iterdir())
        shutil.rmtree(folder)
        (tmp_path / "b.safetensors").unlink()
        count.clear()


# Examples, curve, precision


def test_the_saved_examples_are_verified_and_complete(digits_net, tmp_path):
    x, y = load("digits").test.tensors()
    result = fastbat.evaluate(
        digits_net,
        (x, y),
        **(FEW | {"eps": [0.05, EPS], "batch_size": 15}),
        save_adversarial=tmp_path / "adv.safetensors",
    )
    tensors, said = load_tensors(tmp_path / "adv.safetensors")
    for accuracy in result.accuracies[1:]:
        name = f"pgd@{255 * accuracy.eps:g}"
        parts = sorted({key.split("/")[1] for key in tensors if key.startswith(f"{name}/")}, key=int)
        found = [torch.cat([tensors[f"{name}/{part}/{what}"] for part in parts]) for what in ("x", "y", "index")]
        assert len(found[0]) == result.sa.hits - accuracy.hits > 0
        assert torch.equal(found[1], y[found[2]])
        assert ((found[0] - x[found[2]]).abs() <= accuracy.eps + 1e-6).all()
        assert (digits_net(found[0]).argmax(1) != found[1]).all()
    assert said["settings"]["weights"] == result.settings["weights"]
    assert [path.name for path in tmp_path.iterdir()] == ["adv.safetensors"]


def test_a_sequence_of_budgets_gives_the_curve(digits_net):
    result = fastbat.evaluate(digits_net, load("digits").test, **(FEW | {"eps": [0.02, 0.05, 0.1, 0.2]}))
    curve = [accuracy.hits for accuracy in result.accuracies if accuracy.attack == "pgd"]
    assert [accuracy.eps for accuracy in result.accuracies] == [0, 0.02, 0.05, 0.1, 0.2]
    assert curve == sorted(curve, reverse=True)
    assert curve[0] > curve[-1]
    alone = fastbat.evaluate(digits_net, load("digits").test, **(FEW | {"eps": 0.05}))
    assert alone.ra_pgd.hits == curve[1]


def test_a_search_in_bf16_is_verified_in_float32_and_tried_again(digits_net, monkeypatch):
    seen = []
    digits_net.network[0].register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    data = load("digits").test
    low, full = (fastbat.evaluate(digits_net, data, **(FEW | {"precision": p})) for p in ("bf16", "float32"))
    assert {torch.bfloat16, torch.float32} == set(seen)
    assert abs(low.ra_pgd.hits - full.ra_pgd.hits) <= 1
    assert (low.settings["precision"], full.settings["precision"]) == ("bf16", "float32")
    lying = nn.Sequential(digits_net, nn.Softplus())
    lying[1].forward = lambda z: -z  # fools itself on every image
    with frozen(digits_net):
        x, y = data.tensors()
        right = digits_net(x).argmax(1) == y
        x, y = x[right][:20], y[right][:20]
        plan = fastbat.evaluation.Plan(EPS, 10, steps=3, restarts=1)
        index = torch.arange(20)
        ours, own = (
            attack(AttackedModel(digits_net, digits_net, fast), x, y, index, plan.rounds("pgd"), EPS)
            for fast in (lying, digits_net)
        )
    assert ours.rejected > 0
    assert ours.broken.sum() >= own.broken.sum()


def test_the_restart_of_highest_loss_is_an_attack_no_stronger(digits_net):
    attacks = ["pgd", "pgd-highest-loss"]
    result = fastbat.evaluate(digits_net, load("digits").test, **(FEW | {"attacks": attacks, "precision": "float32"}))
    assert result["pgd"].hits <= result["pgd-highest-loss"].hits < result.sa.hits
    assert result["pgd-highest-loss"].label == "RA-PGD-3-2-highest-loss"


def test_grey_colour_and_any_size(monkeypatch):
    real = fastbat.evaluation.rounds.autoattack_part
    few = {"queries": 50}  # of Square: as many as it takes to run all of it
    monkeypatch.setattr("fastbat.evaluation.rounds.autoattack_part", lambda *args, **how: real(*args, **how | few))
    for channels, size, classes in ((1, 9, 3), (3, 20, 5), (4, 7, 2)):
        model = build_model("cnn", width=4, num_classes=classes, mean=[0.5] * channels, std=[1.0] * channels)
        data = torch.rand(6, channels, size, size), torch.arange(6) % classes
        assert fastbat.evaluate(model, data, eps=EPS, attacks=["clean", "fgsm", "noise", "square"]).n == 6


def test_a_notebook_shows_the_same_numbers(digits_net):
    result = fastbat.evaluate(digits_net, load("digits").test, **(FLAGGED | {"pgd_steps": 20}))
    shown = result._repr_mimebundle_((), ())
    for text in (shown["text/html"], shown["text/plain"]):
        assert str(result.ra_pgd) in text
        assert "RA-PGD-20-2" in text
        assert "[low, high]: 95 % interval" in text
        assert "No red flags." in text


# A closer look


def test_a_diagnosis_in_numbers_and_pictures(tmp_path, capsys):
    run = train(METHODS["fast-at"](eps=EPS), Settings(dataset="digits", epochs=2, width=8), tmp_path / "run")
    found = diagnose_target(run.path, tmp_path / "look", limit=40, image=7, examples=3)
    kept = json.loads((tmp_path / "look" / "diagnosis.json").read_text())
    assert kept == json.loads(json.dumps(found))
    assert {path.name for path in (tmp_path / "look").iterdir()} == {
        "diagnosis.json", "easiest.npz", "easiest.png", "flatness.npz", "landscape.npz", "landscape.png",
        "smallest-eps.npz",
    }  # fmt: skip
    assert -1 <= found["ga"] <= 1
    assert found["zero_margin_gradients"] == 0
    flat = np.load(tmp_path / "look" / "flatness.npz")
    assert found["loss_range"] == pytest.approx(flat["loss_range"].mean(), rel=1e-5)
    assert found["loss_bend"] == pytest.approx(flat["loss_bend"].mean(), rel=1e-5)
    smallest = np.load(tmp_path / "look" / "smallest-eps.npz")["smallest_eps"]
    assert all(0 < smallest[i] < np.inf for i in found["easiest"])
    assert list(smallest[found["easiest"]]) == sorted(smallest[found["easiest"]])
    shares = list(found["robust_share"].values())
    assert shares == sorted(shares, reverse=True)
    at_eps = fastbat.evaluate(
        fastbat.load_model(run.weights("best"))[0], load("digits").test, eps=EPS, pgd_steps=20, pgd_restarts=1, limit=40
    )
    assert found["robust_share"][f"{255 * EPS:g}"] <= at_eps.ra_pgd.hits / 40 + 1e-6  # smaller budgets were tried first
    main(["diagnose", str(run.path), "--out", str(tmp_path / "again"), "--limit", "20", "--examples", "1"])
    assert "gradient alignment" in capsys.readouterr().out


def test_appendix_e_is_measured_on_the_runs_own_images_at_its_own_weights(tmp_path):
    settings = Settings(dataset="digits", epochs=1, train_limit=200, width=4, select_limit=20)
    run = train(METHODS["fast-bat"](eps=EPS, linearise="corner"), settings, tmp_path / "run")
    theory = Theory(noise_at=(8, 32), decay_over=(3, 9), train_images=64, draws=4)
    found = diagnose_target(run.path, tmp_path / "look", "last", limit=4, examples=0, theory=theory, seed=2)
    kept = json.loads((tmp_path / "look" / "diagnosis.json").read_text())
    assert [(row["of"], row["b"]) for row in kept["noise"]] == [(c, b) for c in ("0", "0.1", "a") for b in (8, 32)]
    model, method = fastbat.load_model(run.weights("last"))[0], METHODS["fast-bat"](eps=EPS, linearise="corner")
    x, y = load("digits").train.slice(0, 64).tensors()
    of = {c: Gradient(replace(method, ig_weight=w).losses, model, x, y, 2) for c, w in (("0", 0), ("a", method.a))}
    (expected,) = bias_and_variance({"0": of["0"]}, of["a"].of_all(), [32], 4, 2)
    measured = found["noise"][1]
    assert measured.pop("of") == expected.pop("of")
    assert measured == pytest.approx(expected, rel=1e-5)
    assert [(row["of"], row["batch"], row["steps"]) for row in kept["decay"]] == [
        ("0.1", 32, 3), ("0.1", 32, 9), ("a", 32, 3), ("a", 32, 9), ("a", 64, 3), ("a", 64, 9),
    ]  # fmt: skip
    first = float(of["a"].of_all().square().sum())
    assert all(row["first"] == pytest.approx(first, rel=1e-3) for row in kept["decay"])
    assert kept["train_images"] == 64


def test_appendix_e_is_of_a_run_of_fast_bat(tmp_path, capsys):
    settings = Settings(dataset="digits", epochs=1, train_limit=200, width=2, select_limit=20)
    run = train(METHODS["fast-at"](eps=EPS), settings, tmp_path / "run")
    for target in (run.path, run.weights("best")):
        with pytest.raises(InputError, match=r"noise_at and decay_over are of a run of fast-bat; .* fast-at"):
            diagnose_target(target, tmp_path / "look", theory=Theory(noise_at=(8,)))
    assert not (tmp_path / "look").exists()


def test_the_landscape_is_the_loss_along_the_sign_and_a_random_direction(digits_net):
    x, y = load("digits").test.tensors()
    net, image, label = digits_net.double(), x[5].double(), int(y[5])
    steps, losses = loss_landscape(net, image, label, 0.2, points=5)
    assert steps.tolist() == pytest.approx([-0.2, -0.1, 0, 0.1, 0.2])
    at = image[None].clone().requires_grad_()
    loss = nn.functional.cross_entropy(net(at), y[5:6])
    r1 = torch.autograd.grad(loss, at)[0].sign()
    assert losses[2, 2].item() == pytest.approx(loss.item())
    for i, s in enumerate(steps):
        expected = nn.functional.cross_entropy(net(image + s * r1), y[5:6])
        assert losses[i, 2].item() == pytest.approx(expected.item())
    _, again = loss_landscape(net, image, label, 0.2, points=5)
    _, other = loss_landscape(net, image, label, 0.2, points=5, seed=1)
    assert torch.equal(losses, again)
    assert not torch.equal(losses, other)
    digits_net.float()


def test_range_and_bend_are_those_of_the_landscape_of_each_image(digits_net):
    x, y = load("digits").test.tensors()
    net, x, y = digits_net.double(), x[:7].double(), y[:7]
    ranges, bends = flatness(net, x, y, 0.2, batch_size=3)
    at = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(nn.functional.cross_entropy(net(at), y, reduction="sum"), at)
    for i in range(7):
        steps, losses = loss_landscape(net, x[i], int(y[i]), 0.2, points=5)
        assert ranges[i].item() == pytest.approx((losses.max() - losses.min()).item(), rel=1e-9)
        along_r1 = g[i].abs().sum()  # <g, sign g>
        h = 1e-6
        _, near = loss_landscape(net, x[i], int(y[i]), h, points=3)
        along_r2 = (near[1, 2] - near[1, 0]) / (2 * h)
        plane = losses[2, 2] + steps[:, None] * along_r1 + steps * along_r2
        assert bends[i].item() == pytest.approx((losses - plane).abs().max().item(), rel=1e-5)
    digits_net.float()


def test_a_smooth_loss_bends_with_the_square_of_the_reach_and_ranges_with_the_reach():
    torch.manual_seed(0)
    net = build_model("cnn", width=4, num_classes=5, activation="softplus", mean=[0.5], std=[0.5]).double()
    x, y = torch.rand(6, 1, 8, 8, dtype=torch.float64), torch.arange(6) % 5
    (ranges, bends), (half, quarter) = flatness(net, x, y, 2e-4), flatness(net, x, y, 1e-4)
    assert (ranges / half).tolist() == pytest.approx([2] * 6, rel=1e-2)
    assert (bends / quarter).tolist() == pytest.approx([4] * 6, rel=2e-2)


# What is said of other people's models


def test_a_forgotten_normalisation_is_found_and_named(digits_net, tmp_path, capsys):
    torch.save(digits_net.network.state_dict(), tmp_path / "net.pt")
    bare = Origin(dataset="digits", model="cnn", width=8)
    result = evaluate_target(tmp_path / "net.pt", origin=bare, attacks=["clean"])
    assert "assumed: no normalisation (else --mean and --std)" in capsys.readouterr().err
    assert result.settings["assumed"] == ["no normalisation", "activation relu"]
    test = load("digits").test
    found = find_hint(Reading(shifted(digits_net)), test, "digits")
    assert re.fullmatch(
        r"SA is [\d.]+ % on the first 200 images, and [\d.]+ % with --mean 0.305 --std 0.376: try that, if .*", found
    )
    wrong = Normalize([0.5], [0.2])
    assert (
        find_hint(Reading(shifted(digits_net), wrong, wrong), test, "digits") is None
    )  # its own, which is not doubted
    assert find_hint(Reading(digits_net), test, "digits") is None


def test_a_normalisation_that_was_asked_for_is_measured_and_a_better_one_is_named(digits_net, tmp_path):
    state, beside = digits_net.network.state_dict(), {"mean": torch.tensor([0.3]), "std": torch.tensor([0.4])}
    torch.save(state, tmp_path / "bare.pt")
    torch.save(state | beside, tmp_path / "own.pt")
    wrong, how = {"mean": "1", "std": "0.05"}, {"attacks": ["clean"], "limit": 200}
    model = nn.Sequential(Normalize([1.0], [0.05]), digits_net.network)
    expected = hits(fastbat.evaluate(model, load("digits").test, **how))
    for file, better in (("bare", "with --mean 0.305 --std 0.376"), ("own", "with --mean 0.3 --std 0.4")):
        result = evaluate_target(tmp_path / f"{file}.pt", origin=replace(CNN, **wrong), **how)
        assert hits(result) == expected
        assert f" % {better}: try that, if it was trained so" in result.settings["hint"]
        assert "hint" not in evaluate_target(tmp_path / f"{file}.pt", origin=CNN, **how).settings


def test_a_normalisation_that_is_there_twice_is_found_and_named(digits_net, tmp_path):
    twice = Reading(digits_net, Normalize([0.9], [0.1]))  # asked for, in front of the one inside
    found = find_hint(twice, load("digits").test, "digits")
    assert re.fullmatch(r"SA is [\d.]+ % .*, and [\d.]+ % without --mean and --std: try that, if it was .*", found)


def shifted(model, mean=0.305, std=0.376):
    """`model` for images that were normalised like this, as the digits are."""
    return nn.Sequential(Normalize([-mean / std], [1 / std]), model)


def test_images_from_minus_1_to_1_are_found_and_named(digits_net):
    test = load("digits").test
    dark = replace(test, pixels=test.pixels // 8)  # so that their own normalisation is another
    bright = nn.Sequential(Normalize([0.0], [1 / 8]), digits_net)
    found = find_hint(Reading(shifted(bright, 0.5, 0.5)), dark, "folder")
    assert "% with --mean 0.5 --std 0.5: try that" in found


def test_a_model_that_is_no_better_than_one_class_is_doubted(digits_net):
    renamed = nn.Sequential(digits_net, nn.Linear(10, 10, bias=False)).eval()
    renamed[1].weight.data = torch.eye(10).roll(1, 0)  # the classes in another order
    found = find_hint(Reading(renamed), load("digits").test, "digits")
    assert re.fullmatch(r"SA is [\d.]+ % on the first 200 images, no better than one class for all; check .*", found)


def test_the_other_shortcut_is_found_and_named_whether_it_was_assumed_or_asked_for(tmp_path):
    model, _, _ = trained(build_model("preactresnet18", width=2, mean=[0.305], std=[0.376], shortcut="preact"), 10, 20)
    torch.save(model.network.state_dict(), tmp_path / "net.pt")
    how, digits = {"attacks": ["clean"], "limit": 200}, {"dataset": "digits", "model": "preactresnet18", "width": 2}
    hints = {}
    for normalised in (True, False):
        for shortcut in ("preact", "raw", None):  # None: raw is assumed, for the names are ours
            scale = {"mean": "0.305", "std": "0.376"} if normalised else {}
            result = evaluate_target(tmp_path / "net.pt", origin=Origin(**digits, **scale, shortcut=shortcut), **how)
            hints[normalised, shortcut] = result.settings.get("hint")
    assert hints[True, "preact"] is None
    assert "% with --shortcut preact: try that" in hints[True, "raw"]
    assert hints[True, None] == hints[True, "raw"]
    assert "% with --mean 0.305 --std 0.376 --shortcut preact: try that" in hints[False, "raw"]
    assert hints[False, None] == hints[False, "raw"]
    assert "% with --mean 0.305 --std 0.376: try that" in hints[False, "preact"]


def claiming(model, path, **says):
    """Write the weights of `model` next to what their file says of itself; measure SA and RA-PGD, a strong one."""
    torch.save({"net": model.network.state_dict(), **says}, path)
    how = {"eps": EPS, "attacks": "clean,pgd", "pgd_steps": 10, "pgd_restarts": 1, "precision": "float32"}
    return evaluate_target(path, origin=CNN, **how)


@pytest.fixture(scope="module")
def unclaimed(digits_net, tmp_path_factory):
    """What is measured of a file that says nothing of itself."""
    return claiming(digits_net, tmp_path_factory.mktemp("unclaimed") / "net.pt")


def test_a_claim_that_the_measurement_excludes_is_called_a_contradiction(digits_net, unclaimed, tmp_path):
    sa, ra = (round(accuracy.percent, 2) for accuracy in (unclaimed.sa, unclaimed.ra_pgd))
    assert ra + 20 < sa < 97
    images = "another epoch or another reading (3 tried, none fits)."
    cases = (
        ("test_acc", 99.9, unclaimed.sa, f"The claim is wrong, or of other images, {images}"),
        ("acc", ra - 20, unclaimed.sa, f"The claim is wrong, or of an attack, other images, {images}"),
        ("pgd20_acc", ra + 20, unclaimed.ra_pgd,
         "or of a smaller budget, a weaker attack, other images or another epoch."),
    )  # fmt: skip
    says = {name: torch.tensor([claimed]) for name, claimed, _, _ in cases}  # as some scripts save it
    result = claiming(digits_net, tmp_path / "net.pt", **says)
    contradictions = result.settings["contradictions"]
    assert json.loads(json.dumps(result.record()))["settings"]["contradictions"] == contradictions
    for found, (name, claimed, measured, cause) in zip(contradictions, cases, strict=True):
        assert (found["claim"], found["claimed"]) == (name, pytest.approx(claimed))
        assert (found["attack"], found["percent"]) == (measured.attack, pytest.approx(measured.percent, abs=1e-3))
        low, high = measured.interval
        at = " at Linf eps 25.5/255" if measured.eps else ""
        number = f"{measured.label} {measured.percent:.1f} % [{low:.1f}, {high:.1f}]{at}"
        says = f"CONTRADICTION: net.pt says {name} {claimed:.6g} %, but measured is {number}, on all 397 test images of"
        assert says in str(result)
        assert cause in found["text"]
        assert found["text"] in str(result)


def test_a_claim_that_may_be_true_is_none(digits_net, unclaimed, tmp_path):
    sa, ra = (round(accuracy.percent, 2) for accuracy in (unclaimed.sa, unclaimed.ra_pgd))
    says = {
        "test_acc": sa,
        "adv_acc": ra,
        "best_acc": round(sa / 100, 4),
        "acc": f"{sa}%",
        "last_acc": ra,  # under attack
        "test_robust_acc": ra - 20,  # its attack may be stronger
        "val_acc": 99.9,  # of other images, like the next
        "train_acc": 99.9,
        "top5_acc": 99.9,  # of another question
    }
    result = claiming(digits_net, tmp_path / "net.pt", **says)
    for each in (unclaimed, result):
        assert each.settings["contradictions"] == []
        assert "CONTRADICTION" not in str(each)


def test_a_sample_excludes_less_than_all_images(digits_net, tmp_path):
    torch.save({"net": digits_net.network.state_dict(), "test_acc": 97.5}, tmp_path / "net.pt")
    few, every = (
        evaluate_target(tmp_path / "net.pt", origin=CNN, attacks=["clean"], limit=limit) for limit in (40, None)
    )
    assert few.sa.interval[1] > 97.5 > every.sa.interval[1]
    assert [len(result.settings["contradictions"]) for result in (few, every)] == [0, 1]


def test_a_claim_that_fits_another_reading_names_it_and_nothing_is_switched(digits_net, unclaimed, tmp_path):
    torch.save({"net": digits_net.network.state_dict(), "test_acc": unclaimed.sa.percent}, tmp_path / "net.pt")
    asked = replace(CNN, mean="1", std="0.05")
    result = evaluate_target(tmp_path / "net.pt", origin=asked, attacks=["clean"])
    wrong = nn.Sequential(Normalize([1.0], [0.05]), digits_net.network)
    assert hits(result) == hits(fastbat.evaluate(wrong, load("digits").test, attacks=["clean"]))
    (found,) = result.settings["contradictions"]
    assert re.search(r"It fits with --mean 0.305 --std 0.376 \(SA [\d.]+ % \[.*\]\): try that, if", found["text"])
    names = ["with --mean 0.305 --std 0.376", "with --mean 0.5 --std 0.5", "without --mean and --std"]
    assert sorted(found["other_readings"]) == names
    bare = Reading(digits_net.network).model
    expected = fastbat.evaluate(bare, load("digits").test, attacks=["clean"]).sa.percent
    assert found["other_readings"]["without --mean and --std"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("says", "percent", "robust"),
    [
        ({"acc": 94.5}, 94.5, False),
        ({"testAcc": "0.945"}, 94.5, False),
        ({"best_acc1": 94}, 94, False),
        ({"acc@1": "94.5 %"}, None, None),
        ({"clean_accuracy": 1}, 100, False),
        ({"nat_prec1": 94.5}, 94.5, False),
        ({"PGD-20-10 accuracy": 50.25}, 50.25, True),
        ({"autoattack_acc": 50.25}, 50.25, True),
        ({"ra": 0.5}, 50, True),
        ({"acc": True}, None, None),
        ({"acc": 0}, None, None),
        ({"acc": 120}, None, None),
        ({"acc": "nan"}, None, None),
        ({"acc_loss": 0.5}, None, None),
        ({"train_acc": 0.5}, None, None),
        ({"best": 94.5}, None, None),
    ],
)
def test_which_figures_of_a_file_are_accuracies(says, percent, robust):
    found = [(claim.percent, claim.robust) for claim in claims(says)]
    assert found == ([] if percent is None else [(pytest.approx(percent), robust)])


def test_an_audit_keeps_a_record_with_its_command_and_a_sentence_to_quote(digits_net, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    state = digits_net.network.state_dict()
    torch.save({"net": state, "epoch": 7, "test_acc": 91.25}, "theirs.pth.tar")
    words = "--dataset digits --model cnn --width 8 --mean 0.3 --std 0.4 --eps 20/255 --pgd-steps 2 --limit 40"
    main(["evaluate", "theirs.pth.tar", *words.split()])
    said = capsys.readouterr()
    (record,) = read_records(Path("evaluations/theirs.pth/evaluation.jsonl"))
    assert said.err.endswith("kept in evaluations/theirs.pth/evaluation.jsonl\n")
    assert "theirs.pth.tar says of itself: epoch 7, test_acc 91.25\n" in said.out
    assert "To quote: theirs.pth.tar (SHA-256 " in said.out
    settings = record["settings"]
    assert f"Command: {settings['command']}\n" in said.out
    assert settings["command"] == (
        "fastbat evaluate theirs.pth.tar --eps=20 --pgd-steps=2 --limit=40 --dataset=digits --model=cnn --width=8 "
        "--mean=0.3 --std=0.4"
    )
    assert settings["sha256"] == hashlib.sha256(Path("theirs.pth.tar").read_bytes()).hexdigest()
    assert settings["says"] == {"epoch": 7, "test_acc": 91.25}
    assert settings["versions"]["commit"] == commit()
    assert record["eps_255"] == 20
    main(["evaluate", *shlex.split(settings["command"])[2:], "--json"])
    again = json.loads(capsys.readouterr().out)
    assert [again[key] for key in ("sa", "ra_pgd", "n")] == [record[key] for key in ("sa", "ra_pgd", "n")]


def test_a_folder_that_cannot_be_written_is_said_and_stops_nothing(digits_net, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_model(Path("mine.safetensors"), digits_net, about(digits_net))
    Path("evaluations").touch()
    main(["evaluate", "mine.safetensors", "--attacks", "clean"])
    said = capsys.readouterr()
    assert said.err.endswith("no record is kept: the working folder cannot be written; name another: --out DIR\n")
    assert "SA" in said.out
    with pytest.raises(SystemExit):
        main(["evaluate", "mine.safetensors", "--attacks", "clean", "--out", "evaluations/here"])


def test_clean_accuracy_of_an_unknown_model_needs_no_budget(digits_net, tmp_path):
    torch.save(digits_net.network.state_dict(), tmp_path / "net.pt")
    assert evaluate_target(tmp_path / "net.pt", origin=CNN, attacks=["clean"], limit=60).n == 60
    with pytest.raises(InputError, match=r"nothing is known of the training of '.*net.pt'; say what budget"):
        evaluate_target(tmp_path / "net.pt", origin=CNN, attacks=["clean", "fgsm"])


def test_a_function_gets_the_number_of_classes_only_if_it_takes_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "ways_to_build.py").write_text(
        "from torch import nn\n\n\ndef plain():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n\n\n"
        "def any(**how):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, how['num_classes']))\n\n\n"
        "def named(num_classes=3):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n\n\n"
        "def other(size):\n    return None\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "any", "named"):
        target = f"ways_to_build:{name}"
        assert evaluate_target(target, origin=Origin(dataset="digits"), attacks=["clean"], limit=20).n == 20
    with pytest.raises(InputError, match=r"ways_to_build:other for 10 classes: .*missing 1 required positional arg"):
        evaluate_target("ways_to_build:other", origin=Origin(dataset="digits"), attacks=["clean"])


# Bad input, each one line before any work

BAD = {
    "no data set": ("net.pt --model cnn", "does not say what images it is for; name them: --dataset"),
    "no network": ("net.pt --dataset digits", "holds weights alone; say what network they are of"),
    "an unknown network": ("net.pt --dataset digits --model cn", "unknown model 'cn'; did you mean 'cnn'?"),
    "another width": ("net.pt --dataset digits --model cnn --width 16", "does not fit the model"),
    "no such file": ("gone.pt --dataset digits --model cnn", "no model 'gone.pt'; name a run directory"),
    "no such target": ("gone --dataset digits", "no model 'gone'; name a run directory"),
    "another ending": ("notes.txt --dataset digits", "'notes.txt' is empty; download or copy it again"),
    "an empty file": ("empty.safetensors --dataset digits --model cnn", "is empty; download"),
    "a page": ("page.pt --dataset digits --model cnn", "is an HTML page, as a server sends where a download fails"),
    "a program": (
        "net.pt2 --dataset digits",
        "'net.pt2' is a torch.export or TorchScript program, and opening one may",
    ),
    "a program for a network": (
        "net.pt2 --dataset digits --model cnn",
        "name its weights and their --model, or a func",
    ),
    "an empty ONNX file": ("empty.onnx --dataset digits", "is empty; download"),
    "no ONNX file": ("text.onnx --dataset digits", "is no ONNX model that onnxruntime runs"),
    "no such module": (
        "gone:net --dataset digits",
        "model gone:net for 10 classes: ModuleNotFoundError: No module named 'gone'",
    ),
    "an unknown timm network": ("timm/resnet1 --dataset digits", "unknown timm model 'resnet1'; did you mean"),
    "mean without std": (NET := "net.pt --dataset digits --model cnn --width 8 --mean 0.3", "one of --mean and --std"),
    "three means": (f"{NET},0.3,0.3 --std 0.4,0.4,0.4", "mean has 3 numbers for images of 1 channels"),
    "a word for a mean": ("net.pt --dataset digits --model cnn --mean a --std 1", "mean is 'a'; it must be numbers"),
    "std of 0": (f"{NET} --std 0", "std is 0; every number must be above 0"),
    "no budget": (
        f"{NET} --std 0.4",
        "nothing is known of the training of 'net.pt'; say what budget to attack it with: --eps 8",
    ),
    "a mean of 0-255": (
        f"{NET[:-3]}125.3 --std 63",
        "mean is 125.3 and std is 63, but images lie in [0, 1]; if that is on the 0-255 scale, write --mean 0.4914",
    ),
    "a std of 0-255": (
        f"{NET} --std 63",
        "std is 63, but images lie in [0, 1]; if that is on the 0-255 scale, write --std 0.2471",
    ),
    "a negative mean": (f"{NET[:-3]}-0.5 --std 1", "mean is -0.5; images lie in [0, 1], and so does their mean"),
    "another denominator": (f"{NET} --std 0.4 --eps 8/256", "eps is '8/256'; it must be numbers"),
    "eps as a word": (f"{NET} --std 0.4 --eps big", "eps is 'big'; it must be numbers"),
    "eps of 0": (f"{NET} --std 0.4 --eps 0", "eps is 0/255; it must lie above 0"),
    "a negative eps in the curve": (f"{NET} --std 0.4 --eps 2,-4", "eps is -4/255"),
    "eps above the range": (f"{NET} --std 0.4 --eps 300", "eps is 300/255"),
    "infinite eps": (f"{NET} --std 0.4 --eps inf", "eps is 'inf'; it must be numbers"),
    "the same budget twice": (f"{NET} --std 0.4 --eps 8,8", "eps holds the same budget twice"),
    "an unknown attack": (f"{NET} --std 0.4 --eps 8 --attacks pgd,ax", "unknown attack 'ax'"),
    "no attack": (f"{NET} --std 0.4 --eps 8 --attacks=", "no attacks are named; known: clean"),
    "transfer from nowhere": (f"{NET} --std 0.4 --eps 8 --attacks transfer", "but no surrogates"),
    "surrogates for nothing": (f"{NET} --std 0.4 --eps 8 --surrogates mine.safetensors", "but transfer is not among"),
    "a surrogate that is gone": (f"{NET} --std 0.4 --eps 8 --attacks transfer --surrogates x.pt2", "no model 'x.pt2'"),
    "one surrogate twice": (f"{NET} --std 0.4 --eps 8 --attacks transfer --surrogates a,b/a", "the same name twice"),
    "no passes": (f"{NET} --std 0.4 --eps 8 --eot 0", "eot is 0"),
    "another precision": (f"{NET} --std 0.4 --eps 8 --precision half", "half"),
    "no images": (f"{NET} --std 0.4 --eps 8 --limit 0", "limit is 0"),
    "a device that is not": (f"{NET} --std 0.4 --eps 8 --device tpu", "device 'tpu' is not available here"),
    "an unknown data set": ("net.pt --dataset digit --model cnn", "unknown data set 'digit'; did you mean 'digits'"),
    "a folder for the embedded": (f"{NET} --std 0.4 --eps 8 --data-dir .", "digits is embedded; leave it out"),
    "a file for a folder": (f"{NET} --std 0.4 --eps 8 --out notes.txt", "cannot write into 'notes.txt'"),
    "examples as text": (f"{NET} --std 0.4 --eps 8 --save-adversarial adv.txt", "must end in .safetensors"),
    "examples over a file": (f"{NET} --std 0.4 --eps 8 --save-adversarial mine.safetensors", "exists already"),
    "another kind of weights": ("list.pt --dataset digits --model cnn", "holds a list: no state_dict"),
    "a mean that is inside": ("mine.safetensors --mean 0.3 --std 0.4", "mean is 0.3, but 'mine.safetensors' brings"),
    "a width that is known": ("mine.safetensors --width 8", "width is 8, but 'mine.safetensors' brings its own"),
    "an activation that is known": (
        "mine.safetensors --activation swish",
        "activation is swish, but 'mine.safetensors'",
    ),
    "a mean for timm": (
        "timm/resnet18 --dataset digits --mean 0.3 --std 0.4",
        "mean is 0.3, but 'timm/resnet18' brings",
    ),
    "a network for code": ("mine:net --dataset digits --model cnn", "model is cnn, but 'mine:net' brings"),
    "a run's weights as another's data": ("mine.safetensors --dataset parquet", "is read from a folder of yours"),
}


@pytest.mark.parametrize("words", ["--limit 0", "--limit -5", "--examples -1", "--eps 0", "--image 9999"])
def test_bad_input_to_a_diagnosis_is_one_line(words, digits_net, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_model(Path("mine.safetensors"), digits_net, about(digits_net))
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", "mine.safetensors", "--out", "look", *words.split()])
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n"), Path("look").exists()) == (2, 1, False)
    assert f"{words.split()[0].removeprefix('--')} is {words.split()[1]}" in said


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case, digits_net, tmp_path, monkeypatch, capsys):
    words, message = BAD[case]
    monkeypatch.chdir(tmp_path)
    torch.save(digits_net.network.state_dict(), "net.pt")
    torch.save([1, 2], "list.pt")
    save_model(Path("mine.safetensors"), digits_net, about(digits_net))
    for name in ("empty.safetensors", "empty.onnx", "notes.txt"):
        Path(name).touch()
    Path("page.pt").write_text("<html>not found</html>")
    Path("text.onnx").write_text("no model")
    with zipfile.ZipFile("net.pt2", "w") as archive:
        archive.writestr("net/models/model.json", "{}")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *words.split()])
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == ""
    assert message in said.err
    assert said.err.startswith("fastbat: ")
    assert said.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_batches_that_batchnorm_counted_bound_the_updates(tmp_path, capsys):
    weights = build_model("preactresnet18", width=2, mean=[0.3], std=[0.4]).state_dict()
    tracked = [name for name in weights if name.endswith("tracked")]
    how = {"origin": Origin(dataset="digits", model="preactresnet18", width=2), "attacks": ["clean"], "limit": 20}
    for first, last in ((7, 7), (0, 0), (1_230, 4_560)):
        counted = dict.fromkeys(tracked, torch.tensor(last)) | {tracked[0]: torch.tensor(first)}
        torch.save(weights | counted, tmp_path / "net.pt")
        result = evaluate_target(tmp_path / "net.pt", **how)
        assert result.settings.get("batches_counted", [0]) == sorted({first, last})
    network = ["--model", "preactresnet18", "--width", "2"]
    main(["evaluate", str(tmp_path / "net.pt"), "--dataset", "digits", *network, "--attacks", "clean", "--limit", "20"])
    said = "net.pt was trained for at most 4,560 updates: its BatchNorm layers counted that many batches"
    assert f"{said} (the least of them 1,230)" in capsys.readouterr().out
