"""The dry run before a training: what cannot be trained, and bf16 that a kernel gets wrong, found before it starts."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fastbat.audit import evaluate_target
from fastbat.data import Batch, Loader, load
from fastbat.errors import InputError
from fastbat.files import load_tensors, read_toml
from fastbat.methods import METHODS
from fastbat.models import build_model
from fastbat.models.finite import first_not_finite, not_finite
from fastbat.runtime.precision import Autocast
from fastbat.training import Settings, train
from fastbat.training.bf16 import CORRECT, Products
from fastbat.training.dry_run import first_images

EPS = 0.15
SMALL = Settings(epochs=1, width=4, train_limit=100, select_limit=20, select_steps=1, batch_size=50)
BACKWARD, FORWARD, PRODUCT = (
    torch.ops.aten.convolution_backward.default,
    torch.ops.aten.convolution.default,
    torch.ops.aten.mm.default,
)


class Broken(TorchDispatchMode):
    """A library whose kernel `func` is wrong in bf16, and right in float32."""

    def __init__(self, func: Any, spoil: Any) -> None:
        super().__init__()
        self.func, self.spoil = func, spoil

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is not self.func or args[0].dtype != torch.bfloat16:
            return out
        if isinstance(out, Tensor):
            return self.spoil(out)
        return out[0], None if out[1] is None else self.spoil(out[1]), out[2]


def one_wrong(found: Tensor) -> Tensor:
    found.view(-1)[-1] += found.abs().max()
    return found


SPOIL = {
    "NaN": lambda found: found.fill_(torch.nan),
    "huge": lambda found: found * 1e20,
    "twice": lambda found: 2 * found,
    "nothing": torch.zeros_like,
    "one number": one_wrong,
}


@pytest.fixture(autouse=True)
def _nothing_was_tried() -> None:
    CORRECT.clear()


def fault(net: nn.Module, x: Tensor, y: Tensor, name: str = "fast-at", **how: Any) -> str | None:
    """Return what is found wrong in an update of `net` in bf16."""
    with Products() as products:
        for loss in METHODS[name](EPS, **how).losses(Autocast(net.train()), Batch(x, y)):
            loss.backward()
    return products.fault


@pytest.mark.parametrize("spoil", SPOIL)
@pytest.mark.parametrize("func", [BACKWARD, FORWARD, PRODUCT])
def test_a_wrong_kernel_is_found_and_described(func, spoil):
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8) % 4
    with Broken(func, SPOIL[spoil]):
        found = fault(build_model("cnn", num_classes=4, width=8, mean=(0.5,), std=(0.5,)), x, y)
    assert found is not None
    assert ("not finite" in found) == (spoil == "NaN")
    says = {
        BACKWARD: "the backward pass of the convolution (kernel 3 x 3, stride 2 x 2, input 16 x 4 x 4) is ",
        FORWARD: "the convolution (kernel 3 x 3, stride 1 x 1, input 1 x 8 x 8) is ",
        PRODUCT: "the product of matrices ",
    }
    assert found.startswith(says[func])


NETWORKS = [("cnn", {"width": 4}), ("preactresnet18", {"width": 8}), ("wideresnet-16-8", {"width": 2})]


@pytest.mark.parametrize(("network", "how"), NETWORKS)
@pytest.mark.parametrize("name", ["fast-at", "fast-bat"])
def test_right_kernels_are_found_right(network, how, name):
    model = build_model(network, num_classes=4, **how)
    assert fault(model, torch.rand(8, 3, 16, 16), torch.arange(8) % 4, name) is None
    assert len(CORRECT) > 10


def test_attention_and_layer_norm_are_found_right():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    net = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.Flatten(2), nn.LazyLinear(16), layer, nn.Flatten(), nn.LazyLinear(4))
    x = torch.rand(8, 3, 16, 16)
    net(x)
    assert fault(net, x, torch.arange(8) % 4) is None


def test_a_product_is_tried_once_in_a_process(monkeypatch):
    tried, model = [], build_model("cnn", num_classes=4, width=4)
    from fastbat.training import bf16

    largest = bf16.largest_error
    monkeypatch.setattr(bf16, "largest_error", lambda *call: tried.append(call) or largest(*call))
    for _ in range(2):
        fault(model, torch.rand(8, 3, 8, 8), torch.arange(8) % 4)
    assert len(tried) == len(CORRECT) > 10


def unwritten(layer: nn.Conv2d, x: Tensor) -> bool:
    """Say, by trying, whether this machine's bf16 leaves the weights' gradient of `layer` as memory had it."""
    outputs = layer(x)
    outputs.sum().backward()
    exact, call = layer.weight.grad, (x.bfloat16(), layer.weight.detach().bfloat16(), None)
    sizes = exact.numel(), 2 * exact.numel(), 64, 1000  # in bf16, and in float32 as a kernel may keep it meanwhile
    for _ in range(300):
        junk = [torch.full((n,), torch.nan, dtype=torch.bfloat16) for n in sizes for _ in range(9)]
        del junk
        how = (layer.stride, layer.padding, layer.dilation, False, (0, 0), 1, (False, True, False))
        found = BACKWARD(torch.ones_like(outputs).bfloat16(), *call, *how)[1]
        if not (found - exact).abs().max() <= exact.abs().max() / 4:
            return True
    return False


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 2, 1), (3, 2, 2), (3, 1, 1)])
def test_of_this_machines_kernels_the_wrong_are_found(kernel, stride, side):
    """oneDNN's, of a stride on maps of one pixel: found if and only if it is wrong here."""
    layer = nn.Conv2d(16, 32, kernel, stride, kernel // 2, bias=False)
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(32, 4))
    x, y = torch.rand(8, 16, side, side), torch.arange(8) % 4
    wrong = unwritten(layer, x)
    found = fault(net, x, y)
    assert (found is not None) == wrong
    if wrong:
        assert f"the convolution (kernel 3 x 3, stride {stride} x {stride}, input 16 x {side} x {side}) is" in found


def test_where_bf16_is_wrong_training_is_in_float32_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastbat.training.prepare.pick_precision", lambda device: "bf16")
    method = METHODS["fast-at"](EPS)
    with Broken(BACKWARD, SPOIL["huge"]):
        run = train(method, SMALL, tmp_path / "auto")
        refused = "^FastAT cannot train this model in bf16: the backward pass .*; train with --precision float32$"
        with pytest.raises(InputError, match=refused):
            train(method, replace(SMALL, precision="bf16"), tmp_path / "bf16")
    says = "training in float32 on cpu, for in bf16 the backward pass of the convolution (kernel 3 x 3, stride 2 x 2, "
    assert says in capsys.readouterr().err
    assert not (tmp_path / "bf16").exists()
    assert read_toml(run.config)["resolved"]["precision"] == "float32"
    full = train(method, replace(SMALL, precision="float32"), tmp_path / "float32")
    there, here = (load_tensors(each.weights("last"))[0] for each in (full, run))
    assert all(torch.equal(there[name], here[name]) for name in there)
    train(method, SMALL, run.path, resume=True)  # on with the precision that was chosen


class Strange(nn.Module):
    """A network whose answer `change` makes something else of."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.conv, self.linear, self.change = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 10), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self, self.linear(F.relu(self.conv(x)).flatten(1)), x)


STRANGE = {
    "pair": lambda net, z, x: (z, x.mean()),
    "mapping": lambda net, z, x: {"logits": z},
    "in_training": lambda net, z, x: (z, z) if net.training else z,
    "seven": lambda net, z, x: z[:, :7],
    "maps": lambda net, z, x: z[:, :, None, None],
    "all_nan": lambda net, z, x: z / 0 * 0,
    "one_infinite": lambda net, z, x: z + torch.tensor([torch.inf] + 9 * [0.0]),
    "some_nan": lambda net, z, x: z + torch.where(torch.arange(len(z)) < 2, torch.nan, 0.0)[:, None],
    "no_gradient": lambda net, z, x: z.detach(),
}
SAYS = {
    "pair": r"the model returns tuple for 8 images in eval mode; expected logits \(8, 10\): wrap it in a function of",
    "mapping": r"the model returns dict for 8 images in eval mode; expected logits \(8, 10\)",
    "in_training": r"the model returns tuple for 8 images in train mode; expected logits \(8, 10\)",
    "seven": r"the model returns \(8, 7\) for 8 images; expected logits \(8, 10\)",
    "maps": r"the model returns \(8, 10, 1, 1\) for 8 images; expected logits \(8, 10\)",
    "all_nan": r"the logits are not finite on 8 of 8 images, first in the output of network \(Strange\); nothing",
    "one_infinite": r"the logits are not finite on 8 of 8 images, first in the output of network \(Strange\)",
    "some_nan": r"the logits are not finite on 2 of 8 images",
    "no_gradient": "FastAT cannot train this model: its output has no gradient; is it detached, or computed within",
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_network_that_gives_no_logits_is_said_before_anything_is_written(kind, precision, tmp_path, monkeypatch):
    monkeypatch.setattr("fastbat.models.external.from_code", lambda *_, num_classes, channels: Strange(STRANGE[kind]))
    settings = replace(SMALL, width=None, model="mine:net", precision=precision)
    with pytest.raises(InputError, match=SAYS[kind]) as caught:
        train(METHODS["fast-at"](EPS), settings, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


NOT_TAKEN = {
    "another size": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 10)), "RuntimeError: mat1 and mat2 shapes"),
    "lazy, and too large a kernel": (lambda: nn.Sequential(nn.LazyConv2d(4, 11)), "RuntimeError: Calculated padded"),
}


@pytest.mark.parametrize("kind", NOT_TAKEN)
def test_a_network_that_does_not_take_the_images_is_one_line(kind, tmp_path, monkeypatch):
    build, why = NOT_TAKEN[kind]
    monkeypatch.setattr("fastbat.models.external.from_code", lambda *_, num_classes, channels: build())
    with pytest.raises(InputError, match=rf"^the model does not take images \(8, 1, 8, 8\): {why}") as caught:
        train(METHODS["fast-at"](EPS), replace(SMALL, width=None, model="mine:net"), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_network_of_inference_mode_trains_as_others_do(tmp_path, monkeypatch):
    """Of its tensors autograd refuses gradients, and BatchNorm an update."""

    def weights(inference: bool) -> dict[str, Tensor]:
        def net(*_: Any, num_classes: int, channels: int) -> nn.Module:
            with torch.inference_mode(inference):
                return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, num_classes))

        monkeypatch.setattr("fastbat.models.external.from_code", net)
        run = train(METHODS["fast-at"](EPS), replace(SMALL, width=None, model="mine:net"), tmp_path / str(inference))
        return load_tensors(run.weights("last"))[0]

    ordinary, found = weights(False), weights(True)
    assert all(torch.equal(found[name], ordinary[name]) for name in ordinary)


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        ("stages.1.0.conv2.weight", r"8 of 8 .*network.stages.1.0.conv2 \(Conv2d\), whose weight is not finite"),
        ("linear.bias", r"8 of 8 images, .* network.linear \(Linear\), whose bias is not finite; .*--init-from"),
        ("bn.running_var", r"8 of 8 .* network.bn \(BatchNorm2d\), whose running_var is not finite"),
    ],
)
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_weights_to_start_from_that_are_not_finite_are_named(spoiled, says, value, tmp_path):
    state = build_model("preactresnet18", width=4, mean=(0.5,), std=(0.5,)).network.state_dict()
    state[spoiled].view(-1)[0] = value
    save_file(state, tmp_path / "weights.safetensors")
    settings = replace(SMALL, model="preactresnet18", init_from=tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=says):
        train(METHODS["fast-at"](EPS), settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_first_layer_is_the_first_that_runs():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(4, 2), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x.flatten(1)))

    net, x = Backwards(), torch.rand(5, 3, 1, 1)
    assert not_finite(net, x) is None
    net.first.bias.data[0] = net.last.bias.data[0] = torch.nan
    says = "the logits are not finite on 5 of 5 images, first in the output of first (Linear), whose bias is not finite"
    assert not_finite(net, x) == says
    assert not net.first._forward_hooks


def test_what_is_not_finite_between_two_layers_is_the_input_of_the_second():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    net[1].register_forward_pre_hook(lambda layer, inputs: inputs[0] / 0)
    logits, where = first_not_finite(net, torch.ones(5, 3, 1, 1))
    assert where == "the input of 1 (Linear)"
    assert not logits.isfinite().any()


def test_lazy_layers_take_their_shape_and_train_as_others_do(tmp_path, monkeypatch):
    def net(*_: Any, num_classes: int, channels: int) -> nn.Module:
        return nn.Sequential(
            nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes)
        )

    monkeypatch.setattr("fastbat.models.external.from_code", net)
    settings = replace(SMALL, width=None, model="mine:net", ema=0.9)
    runs = [train(METHODS["fast-bat"](EPS), settings, tmp_path / name) for name in "ab"]
    first, again = (load_tensors(run.weights("last"))[0] for run in runs)
    assert first["network.4.weight"].shape == (10, 4 * 36)
    assert all(torch.equal(first[name], again[name]) for name in first)
    result = evaluate_target(runs[0].path, attacks=("clean",), limit=20)
    assert result.n == 20
    train(METHODS["fast-bat"](EPS), settings, runs[0].path, resume=True)


@pytest.mark.parametrize(
    ("batch_size", "parts", "images", "size"),
    [
        (128, 1, 100, 8),
        (128, 4, 100, 8),
        (16, 4, 100, 4),
        (4, 4, 100, 2),
        (1, 1, 100, 1),
        (3, 2, 100, 3),
        (50, 1, 5, 5),
    ],
)
def test_a_dry_run_sees_as_many_images_as_a_part_of_a_batch_has(batch_size, parts, images, size):
    loader = Loader(load("digits").train.slice(0, images), batch_size, seed=0, pad=2, flip=True)
    few = first_images(loader, parts)
    assert few.x.shape == (size, 1, 8, 8)
    whole = next(loader.epoch(0)).split(parts)[0]
    assert len(few.y) <= len(whole.y)
