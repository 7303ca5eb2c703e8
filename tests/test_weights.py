"""Weights that people have: public names, what scripts wrap around them, and files that hold something else."""

import io
import json
import re
import tarfile
import warnings
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from fastbat import build_model
from fastbat.audit.origin import Origin, form_of
from fastbat.audit.target import undescribed
from fastbat.errors import InputError
from fastbat.models import load_weights
from fastbat.models.beside import FORMATS, Kind, number
from test_generated_data import NAMES as FILE_NAMES

WIDTH, CLASSES = 4, 10
often = settings(derandomize=True, database=None, deadline=None, max_examples=60)

# Transcriptions of public networks, as narrow as here


class Block(nn.Module):
    """The block of FAST-AT's code (raw) and of pytorch-cifar (preact)."""

    def __init__(self, inputs, outputs, stride, raw):
        super().__init__()
        self.raw = raw
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x):
        out = F.relu(self.bn1(x))
        skip = self.shortcut(x if self.raw else out) if hasattr(self, "shortcut") else x
        return self.conv2(F.relu(self.bn2(self.conv1(out)))) + skip


class PublicPreAct(nn.Module):
    """The PreActResNet-18 of FAST-AT's code, or, without a last BatchNorm, of pytorch-cifar."""

    def __init__(self, raw=True, last=True):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        sizes = [WIDTH, WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH]
        for i in range(4):
            first = Block(sizes[i], sizes[i + 1], 1 if i == 0 else 2, raw)
            setattr(self, f"layer{i + 1}", nn.Sequential(first, Block(sizes[i + 1], sizes[i + 1], 1, raw)))
        if last:
            self.bn = nn.BatchNorm2d(sizes[4])
        self.linear = nn.Linear(sizes[4], CLASSES)

    def forward(self, x):
        out = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        out = F.relu(self.bn(out)) if hasattr(self, "bn") else out
        return self.linear(out.mean((2, 3)))


class PostBlock(nn.Module):
    """The block of pytorch-cifar's ResNet."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        changes = nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(*(changes if stride != 1 or inputs != outputs else ()))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class PublicResNet(nn.Module):
    """The ResNet-18 of pytorch-cifar."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH)
        sizes = [WIDTH, WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH]
        for i in range(4):
            first = PostBlock(sizes[i], sizes[i + 1], 1 if i == 0 else 2)
            setattr(self, f"layer{i + 1}", nn.Sequential(first, PostBlock(sizes[i + 1], sizes[i + 1], 1)))
        self.linear = nn.Linear(sizes[4], CLASSES)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.linear(F.avg_pool2d(out, out.shape[2]).flatten(1))


class TradesBlock(nn.Module):
    """The block of TRADES' WideResNet."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x):
        out = F.relu(self.bn1(x))
        skip = x if self.convShortcut is None else self.convShortcut(out)
        return skip + self.conv2(F.relu(self.bn2(self.conv1(out))))


class TradesGroup(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.layer = nn.Sequential(TradesBlock(inputs, outputs, stride), TradesBlock(outputs, outputs, 1))

    def forward(self, x):
        return self.layer(x)


class TradesWide(nn.Module):
    """TRADES' WRN-16-8, the block that no pass runs included; all layers once more in a list, as YOPO's has them."""

    def __init__(self, again=False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 2, 3, 1, 1, bias=False)
        self.block1, self.sub_block1 = TradesGroup(2, 16, 1), TradesGroup(2, 16, 1)
        self.block2, self.block3 = TradesGroup(16, 32, 2), TradesGroup(32, 64, 2)
        self.bn1, self.fc = nn.BatchNorm2d(64), nn.Linear(64, CLASSES)
        if again:
            self.other_layers = nn.ModuleList([self.block1, self.sub_block1, self.block2, self.block3, self.bn1])

    def forward(self, x):
        out = F.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))))
        return self.fc(out.mean((2, 3)))


class FastBatUnit(nn.Module):
    """A unit of FAST-BAT's WideResNet; the first of a block changes the shape."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        bn = nn.BatchNorm2d(inputs)
        first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        rest = [nn.BatchNorm2d(outputs), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)]
        names = ["normalization", "activation", "convolution", "normalization", "activation", "dropout", "convolution"]
        if inputs == outputs:
            layers = [bn, nn.ReLU(), first, *rest]
        else:
            self.norm_act = nn.Sequential(OrderedDict({"0_normalization": bn, "1_activation": nn.ReLU()}))
            layers, names = [first, *rest], names[2:]
            self.downsample = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.block = nn.Sequential(
            OrderedDict((f"{i}_{n}", each) for i, (n, each) in enumerate(zip(names, layers, strict=True)))
        )

    def forward(self, x):
        if not hasattr(self, "downsample"):
            return x + self.block(x)
        x = self.norm_act(x)
        return self.block(x) + self.downsample(x)


class FastBatGroup(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.block = nn.Sequential(
            FastBatUnit(inputs, outputs, stride), *(FastBatUnit(outputs, outputs, 1) for _ in range(2))
        )

    def forward(self, x):
        return self.block(x)


class FastBatWide(nn.Module):
    """FAST-BAT's WRN-16-8."""

    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(
            OrderedDict(
                {
                    "0_convolution": nn.Conv2d(3, 2, 3, 1, 1, bias=False),
                    "1_block": FastBatGroup(2, 16, 1),
                    "2_block": FastBatGroup(16, 32, 2),
                    "3_block": FastBatGroup(32, 64, 2),
                    "4_normalization": nn.BatchNorm2d(64),
                    "5_activation": nn.ReLU(),
                }
            )
        )
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        return self.linear(self.f(x).mean((2, 3)))


def drawn(network):
    """`network` in eval mode, every weight and statistic drawn."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(
                torch.rand(tensor.shape) + 0.5
                if tensor.ndim == 1
                else torch.randn(tensor.shape) / tensor[0].numel() ** 0.5
            )
            if "bias" in name or "mean" in name:
                tensor.sub_(1)
    return network.eval()


def read(path, **origin):
    reading, about = undescribed(
        str(path), form_of(str(path)), Origin(**({"model": "preactresnet18", "width": WIDTH} | origin)), CLASSES, 3
    )
    return reading.model, about


WRN, BAT = {"model": "wideresnet-16-8", "width": 2}, {"model": "wideresnet-16-8-released", "width": 2}
PUBLIC = {
    "FAST-AT": (PublicPreAct, {}, "FAST-AT's PreActResNet; assumed: shortcut raw (else --shortcut preact), no norm"),
    "He's shortcuts": (lambda: PublicPreAct(raw=False), {"shortcut": "preact"}, "FAST-AT's PreActResNet; assumed: no"),
    "pytorch-cifar": (
        lambda: PublicPreAct(raw=False, last=False), {},
        "pytorch-cifar's PreActResNet; no BatchNorm and no activation before its pooling; assumed: shortcut preact (e",
    ),
    "FAST-AT-GA": (lambda: PublicPreAct(last=False), {"shortcut": "raw"}, "no BatchNorm and no activation before its"),
    "a ResNet": (PublicResNet, {"model": "resnet18"}, "pytorch-cifar's ResNet; assumed: no normalisation (else --mean"),
    "TRADES": (TradesWide, WRN, "TRADES' WideResNet; left out: sub_block1.layer.0.bn1.weight and 20 more tensors; ass"),
    "YOPO": (lambda: TradesWide(again=True), WRN, "TRADES' WideResNet; left out: sub_block1.layer.0.bn1.weight and 20"),
    "FAST-BAT": (FastBatWide, BAT, "FAST-BAT's WideResNet; assumed: no normalisation (else --mean and --std)"),
}  # fmt: skip


@pytest.mark.parametrize("case", PUBLIC)
def test_a_public_network_and_ours_with_its_weights_compute_the_same(case, tmp_path):
    make, origin, said = PUBLIC[case]
    theirs = drawn(make())
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours, about = read(tmp_path / "theirs.pth", **origin)
    x = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        expected, found = theirs(x), ours.eval()(x)
    assert expected.std() > 0.1
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert said in about["read_as"]


@pytest.mark.parametrize("raw", [True, False])
def test_training_starts_from_public_weights_and_names_their_shortcuts(raw, tmp_path, capsys):
    theirs = drawn(PublicPreAct(raw))
    torch.save({"net": theirs.state_dict()}, tmp_path / "theirs.pth")
    model = build_model("preactresnet18", width=WIDTH, shortcut="raw" if raw else "preact")
    load_weights(model, tmp_path / "theirs.pth")
    x = torch.rand(2, 3, 16, 16)
    assert torch.allclose(model.eval()(x), theirs(x), atol=1e-5)
    assert "the weights of FAST-AT's PreActResNet, whose code has raw shortcuts" in capsys.readouterr().err


OTHER_NETWORKS = {
    "no last BatchNorm": (lambda: PublicPreAct(last=False), "pytorch-cifar's PreActResNet has no BatchNorm before its"),
    "no pre-activation": (
        lambda: nn.ModuleDict(
            {"layer1": nn.ModuleList([nn.ModuleDict({"shortcut": nn.ModuleList([nn.ReLU(), nn.BatchNorm2d(4)])})])}
        ),
        "it has BatchNorm in its shortcuts, as a ResNet without pre-activation, such as --model resnet18; its own code",
    ),
    "another depth": (
        lambda: nn.Sequential(OrderedDict(layer5=PublicPreAct().layer4)),
        "its names are layer5.0.bn1.wei",
    ),
    "biases": (
        lambda: nn.ModuleDict({**dict(PublicPreAct().named_children()), "conv1": nn.Conv2d(3, WIDTH, 3)}),
        "conv1.bias is (4,) in it and missing in the model",
    ),
    "a WideResNet": (
        TradesWide,
        "stages.3.0.bn1.weight is missing in it and (16,) in the model; its names are those of TR",
    ),
}


@pytest.mark.parametrize("case", OTHER_NETWORKS)
def test_weights_of_another_function_are_refused_with_the_reason(case, tmp_path):
    make, message = OTHER_NETWORKS[case]
    torch.save(make().state_dict(), tmp_path / "theirs.pth")
    model = build_model("preactresnet18", width=WIDTH)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_weights(model, tmp_path / "theirs.pth")
    assert "\n" not in str(caught.value)


# Wrappers


def network():
    torch.manual_seed(3)
    return build_model("cnn", width=2, mean=[0.0], std=[1.0]).network


def prefixed(*prefixes):
    return {"".join(prefixes) + name: tensor for name, tensor in network().state_dict().items()}


def cnn(path):
    return read(path, model="cnn", width=2)


PREFIXES = st.lists(
    st.sampled_from(["module.", "model.", "network.", "_orig_mod.", "1.", "net.", "encoder.0."]), max_size=4
)
NAMES = st.sampled_from(
    ["net", "model", "model_state_dict", "state_dict", "network", "ema", "state_dict_ema", "weights"]
)
ENDINGS = st.sampled_from(
    [".pt", ".pth", ".pth.tar", ".t7", ".ckpt", ".bin", ".PT", ".pkl", "", ".safetensors", ".onnx", ".pt2"]
)


KINDS = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])


@often
@given(PREFIXES, st.lists(NAMES, max_size=2, unique=True), FILE_NAMES, ENDINGS, KINDS, st.booleans())
def test_wrapped_weights_are_found(tmp_path_factory, prefixes, keys, name, ending, kind, leftovers):
    state = prefixed(*prefixes)
    state = {each: tensor.to(kind) if tensor.is_floating_point() else tensor for each, tensor in state.items()}
    if leftovers:
        state |= {"".join(prefixes) + "3.total_ops": torch.zeros(1), "n_averaged": torch.tensor(4)}
    content = state
    for key in keys:
        content = {
            key: content,
            "epoch": 3,
            "optimizer": {"state": {0: {"momentum": torch.ones(3)}}, "param_groups": []},
        }
    path = tmp_path_factory.mktemp("w") / f"{name}{ending}"
    with path.open("wb") as file:  # of a path, torch.save goes by the ending
        torch.save(content, file)
    reading, about = undescribed(str(path), form_of(str(path)), Origin(model="cnn", width=2), CLASSES, 1)
    model = reading.model
    assert all(
        torch.equal(tensor, found.to(tensor.dtype))
        for tensor, found in zip(state.values(), model.state_dict().values(), strict=False)
    )
    assert about["says"] == ({"epoch": 3} if keys else {})


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_what_torch_puts_around_a_layer_is_no_part_of_its_name(wrapper, tmp_path):
    state = network().state_dict()
    torch.save({f"model.{name.replace('.', f'.{wrapper}', 1)}": state[name] for name in state}, tmp_path / "w.pt")
    reading, _ = undescribed(str(tmp_path / "w.pt"), "torch", Origin(model="cnn", width=2), CLASSES, 1)
    model = reading.model
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in state.items())


def test_what_a_file_has_of_its_own_normalisation_stands_in_front(tmp_path):
    for names in ("0.mean", "0.std"), ("normalizer.new_mean", "normalizer.new_std"), ("mu", "sigma"):
        values = dict(zip(names, (torch.full((1, 1, 1), 0.3), torch.full((1, 1, 1), 0.4)), strict=True))
        torch.save(prefixed("1.") | values, tmp_path / "w.pt")
        origin = Origin(model="cnn", width=2)
        reading, about = undescribed(str(tmp_path / "w.pt"), "torch", origin, CLASSES, 1)
        model = reading.model
        x = torch.rand(3, 1, 8, 8)
        assert torch.allclose(model(x), network()((x - 0.3) / 0.4))
        assert "; with its own normalisation, mean 0.3, std 0.4" in about["read_as"]


def test_an_average_beside_the_weights_is_named_and_the_figures_of_a_file_are_kept(tmp_path):
    state = network().state_dict()
    beside = {
        "epoch": 9,
        "test_acc": 0.91,
        "arch": "cnn",
        "loss": torch.tensor(0.5),
        "args": ["long"],
        "note": "x" * 99,
        "title": "\x1b[2J",
        "a\nb": 1,
    }
    torch.save({"net": state, "ema": {k: 0 * v for k, v in state.items()}, **beside}, tmp_path / "w.pt")
    reading, about = undescribed(str(tmp_path / "w.pt"), "torch", Origin(model="cnn", width=2), CLASSES, 1)
    model = reading.model
    assert torch.equal(model[0].weight, state["0.weight"])
    assert "from its key 'net'; not read: 'ema'" in about["read_as"]
    assert about["says"] == {"epoch": 9, "test_acc": 0.91, "arch": "cnn", "loss": 0.5}


def test_plain_data_beside_the_weights_is_no_obstacle(tmp_path):
    numbers = {
        "best_acc": np.float64(91.25),
        "lr": np.float32(0.5),
        "epoch": np.int64(7),
        "big": np.dtype(">i2").type(3),
    }
    other = {"args": Namespace(lr=1, out=Path("runs")), "when": np.datetime64("2026-01-01"), "losses": np.ones(3)}
    for legacy in (True, False):
        content = {"state_dict": network().state_dict(), **numbers, **other}
        torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
        reading, about = undescribed(str(tmp_path / "w.pt"), "torch", Origin(model="cnn", width=2), CLASSES, 1)
        model = reading.model
        assert torch.equal(model[0].weight, network()[0].weight)
        assert about["says"] == {"best_acc": 91.25, "lr": 0.5, "epoch": 7, "big": 3}
        json.dumps(about)


@pytest.mark.parametrize("code", FORMATS)
def test_numbers_of_numpy_are_read_as_numpy_writes_them(code):
    for order in "<>":
        value = np.array([-3 if code[0] in "if" else 1], dtype=f"{order}{code}")
        kind = Kind(code)
        kind.__setstate__((3, order))
        assert number(kind, value.tobytes()) == value.item()


# Files that hold something else


def archive(**files):
    def write(path):
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in files.items():
                zipped.writestr(name.replace("__", "/"), content)

    return write


def script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network().eval(), torch.rand(2, 1, 8, 8)).save(str(path))


def cut(path):
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-300])


def flipped(path):
    torch.save(network().state_dict(), path)
    content = bytearray(path.read_bytes())
    at = content.find(network().state_dict()["8.weight"].numpy().tobytes())
    content[at + 5] ^= 1
    path.write_bytes(bytes(content))


def cut_legacy(path):
    torch.save(network().state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-300])


def cut_safetensors(path):
    save_file(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-300])


def tar(path):
    with tarfile.open(path, "w") as packed:
        packed.addfile(tarfile.TarInfo("w.pt"), io.BytesIO())


def npz():
    np.savez(buffer := io.BytesIO(), a=np.ones(2), b=np.zeros(3))
    return buffer.getvalue()


HOLDS = "next to tensors, which only running code opens; have the weights saved alone, with torch.save("
CONTENTS = {
    "a page": (
        b"<!DOCTYPE html><html><title>Virus scan warning</title></html>",
        "is an HTML page, as a server sends whe",
    ),
    "XML": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "is an XML text, as a server sends where",
    ),
    "nothing": (b"", "is empty; download or copy it again"),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n",
        "is a pointer of Git LFS, not the file",
    ),
    "gzip": (b"\x1f\x8b\x08\x00rest", "is a gzip archive; unpack it first"),
    "tar": (tar, "is a tar archive; unpack it first"),
    "Keras": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes"),
    "text": (b"no weights at all", "holds no network that fastbat knows: it begins with 'no weights at all'"),
    "bytes": (b"\x01\x02\xff\xfe\x00\x01\x02\x03", "it begins with 01 02 ff fe 00 01 02 03"),
    "cut short": (cut, "is damaged or cut short (File is not a zip file); download or copy it again"),
    "a flipped bit": (flipped, "is damaged: its part "),
    "cut short, legacy": (cut_legacy, "is damaged ("),
    "cut short, safetensors": (cut_safetensors, "is not a whole safetensors file"),
    "arrays": (lambda path: path.write_bytes(npz()), "holds 2 arrays of NumPy; have them saved as a state_dict"),
    "a zip": (archive(a__b="1", c="2"), "is a zip archive of 2 files (a/b), not of weights; unpack it first"),
    "TorchScript": (script, "is a torch.export or TorchScript program, and opening one may run code"),
    "a pickle": (np.float64(3).dumps(), "is a pickle that torch.save did not write; only running code opens it"),
    "a model": (network, f"holds torch.nn.modules.container.Sequential {HOLDS}"),
    "settings": (
        lambda: {"state_dict": network().state_dict(), "schedule": slice(1)},
        f"holds slice {HOLDS}",
    ),
    "a list": (lambda: [torch.ones(2)], "holds a list: no state_dict"),
    "no tensors": (lambda: {"epoch": 3, "config": {"lr": 1}}, "holds the keys 'epoch', 'config': no state_dict"),
    "two networks": (
        lambda: {"generator": network().state_dict(), "critic": network().state_dict()},
        "holds the keys 'generator', 'critic': several sets of tensors; have the one that is meant saved alone",
    ),
}


@pytest.mark.parametrize("ending", [".pt", ".safetensors", ".pth.tar"])
@pytest.mark.parametrize("case", CONTENTS)
def test_a_file_is_called_what_it_is(case, ending, tmp_path):
    content, message = CONTENTS[case]
    path = tmp_path / f"w{ending}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content.__code__.co_argcount or content.__name__ == "write":
        content(path)
    else:
        torch.save(content(), path)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read(path, model="cnn", width=2)
    said = str(caught.value)
    assert "\n" not in said
    assert "trust" not in said  # nobody is advised to unpickle
    assert "load" not in said.replace("download", "")


@often
@given(st.binary(max_size=600))
def test_any_bytes_are_answered_in_one_line(tmp_path_factory, content):
    path = Path(tmp_path_factory.mktemp("any")) / "w.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"\A.+\Z"):
        read(path, model="cnn", width=2)
