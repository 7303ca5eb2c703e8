"""Networks: the published sizes, the normalisation inside, activations that are what they are called."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models as torchvision_models

from fastbat import METHODS, Batch
from fastbat.errors import InputError
from fastbat.models import MODELS, build_model
from fastbat.models.build import ACTIVATIONS
from fastbat.models.preact_resnet import PreActBlock, PreActBottleneck
from fastbat.models.resnet import Block
from fastbat.randomness import generator, seed_torch, uniform_starts

FOREIGN_SMALL = ["torchvision/shufflenet_v2_x0_5", "timm/test_resnet", "timm/test_vit2"]


def small(name, **settings):
    """Return `name` as narrow as it can be."""
    takes = MODELS[name].settings if name in MODELS else {}
    width = {"width": 1 if name.startswith("wide") else 2} if "width" in takes else {}
    return build_model(name, **width, **settings)


def on_paper(name, **settings):
    """Return a network without memory or arithmetic: shapes alone."""
    with torch.device("meta"):
        return build_model(name, **settings)


def stage_shapes(model, size):
    shapes = []
    for stage in [model.network.stem, *model.network.stages]:
        stage.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    model(torch.rand(2, 3, size, size, device="meta"))
    return shapes


def convolutions(network):
    return [tuple(m.weight.shape) + m.stride for m in network.modules() if isinstance(m, nn.Conv2d)]


def weights(model):
    return sum(p.numel() for p in model.parameters())


def test_preactresnet18_has_the_published_number_of_weights():
    # 11,171,146 in the widely used implementation, without BatchNorm after the last stage; FAST-AT's has it: + 2 x 512
    assert weights(build_model("preactresnet18", num_classes=10)) == 11_171_146 + 1024
    assert weights(build_model("preactresnet18", num_classes=100)) == 11_171_146 + 1024 + 90 * 513


@pytest.mark.parametrize(
    ("name", "classes", "published"),
    [
        ("resnet18", 10, 11_173_962),
        ("wideresnet-16-8", 10, 10_961_370),
        ("wideresnet-28-10", 10, 36_479_194),
        ("wideresnet-34-10", 10, 46_160_474),
        ("resnet50", 1000, 25_557_032),
    ],
)
def test_networks_have_the_published_number_of_weights(name, classes, published):
    assert weights(on_paper(name, num_classes=classes)) == published


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_a_preactresnet_has_the_convolutions_of_the_resnet_of_its_depth_behind_the_stem(depth):
    with torch.device("meta"):
        resnet = torchvision_models.get_model(f"resnet{depth}", num_classes=10)
    network = on_paper(f"preactresnet{depth}").network
    assert convolutions(network)[1:] == convolutions(resnet)[1:]
    assert network.linear.weight.shape == resnet.fc.weight.shape


def test_preactresnets_halve_their_feature_maps_three_times():
    shapes = [(4, 32, 32), (4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert stage_shapes(on_paper("preactresnet18", width=4), 32) == shapes
    assert stage_shapes(on_paper("preactresnet50", width=1), 32) == [(1, 32, 32), *shapes[1:]]


def test_wideresnets_have_the_published_stages():
    for name, blocks, k in (("wideresnet-16-8", 2, 8), ("wideresnet-28-10", 4, 10), ("wideresnet-34-10", 5, 10)):
        model = on_paper(name)
        assert [len(stage) for stage in model.network.stages] == [blocks] * 3
        sizes = [(16, 32, 32), (16 * k, 32, 32), (32 * k, 16, 16), (64 * k, 8, 8)]
        assert stage_shapes(model, 32) == sizes


def test_a_stem_is_that_of_the_released_code():
    for stem, first in ((3, 64), (7, 32), (15, 22)):  # strides 1, 2, 3; padding of half the kernel
        for name in ("preactresnet18", "wideresnet-16-8"):
            model = on_paper(name, stem=stem)
            assert stage_shapes(model, 64)[0][1:] == (first, first)
            assert model.network.stem.kernel_size == (stem, stem)


def test_the_blocks_compute_their_formulas():
    x, act = torch.randn(3, 8, 6, 6), torch.relu
    for shortcut in ("raw", "preact"):
        basic = PreActBlock(8, 16, 2, nn.ReLU, shortcut=shortcut)
        h = act(basic.bn1(x))
        skip = F.conv2d(x if shortcut == "raw" else h, basic.shortcut.weight, stride=2)
        there = basic.conv2(act(basic.bn2(basic.conv1(h)))) + skip
        assert torch.allclose(basic(x), there, atol=1e-6)
    last = Block(8, 16, 2, nn.ReLU)
    deep = last.bn2(last.conv2(act(last.bn1(last.conv1(x)))))
    assert torch.allclose(last(x), act(deep + last.shortcut[1](last.shortcut[0](x))), atol=1e-6)
    narrow = PreActBottleneck(8, 8, 1, nn.ReLU)
    h = narrow.conv2(act(narrow.bn2(narrow.conv1(act(narrow.bn1(x))))))
    assert torch.allclose(narrow(x), narrow.conv3(act(narrow.bn3(h))) + x, atol=1e-6)


def transcribed(weights, x, shortcut):
    """PreActResNet-18 on x, line by line from its description; `weights` is the state_dict of ours, in train mode."""

    def bn(name, h):
        mean, variance = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), correction=0, keepdim=True)
        scale, shift = (weights[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
        return (h - mean) / (variance + 1e-5).sqrt() * scale + shift

    h = F.conv2d((x - weights["normalize.mean"]) / weights["normalize.std"], weights["network.stem.weight"], padding=1)
    for stage in range(4):
        for block in range(2):
            name, stride = f"network.stages.{stage}.{block}", 2 if stage and not block else 1
            active = bn(f"{name}.bn1", h).relu()
            deep = F.conv2d(active, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            deep = F.conv2d(bn(f"{name}.bn2", deep).relu(), weights[f"{name}.conv2.weight"], padding=1)
            if stride == 2:
                entering = h if shortcut == "raw" else active
                h = F.conv2d(entering, weights[f"{name}.shortcut.weight"], stride=2)
            h = deep + h
    h = bn("network.bn", h).relu().mean((2, 3))
    return F.linear(h, weights["network.linear.weight"], weights["network.linear.bias"])


@pytest.mark.parametrize("shortcut", ["raw", "preact"])
def test_a_preactresnet18_is_its_transcription_in_outputs_and_input_gradients(shortcut):
    generator = torch.Generator().manual_seed(0)
    model = build_model("preactresnet18", width=4, shortcut=shortcut, mean=[0.5] * 3, std=[0.25] * 3).double()
    x = torch.rand(6, 3, 32, 32, dtype=torch.double, generator=generator).requires_grad_()
    y = torch.randint(10, (6,), generator=generator)
    ours, theirs = model(x), transcribed(model.state_dict(), x, shortcut)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    slopes = [torch.autograd.grad(F.cross_entropy(logits, y), x)[0] for logits in (ours, theirs)]
    assert torch.allclose(*slopes, rtol=1e-9, atol=1e-15)


def test_the_two_shortcuts_have_the_same_weights_and_are_other_functions():
    raw, preact = (build_model("preactresnet18", width=4, shortcut=form) for form in ("raw", "preact"))
    preact.load_state_dict(raw.state_dict())
    x = torch.rand(8, 3, 32, 32)
    assert (raw(x) - preact(x)).norm() > 0.1 * raw(x).norm()
    default = build_model("preactresnet18", width=4)
    default.load_state_dict(raw.state_dict())
    assert torch.equal(default(x), raw(x))


def test_the_released_wideresnet_is_a_block_a_stage_deeper_and_has_dropout():
    released = on_paper("wideresnet-16-8-released")
    assert [len(stage) for stage in released.network.stages] == [3, 3, 3]
    assert sum(isinstance(layer, nn.Conv2d) for layer in released.modules()) == 22  # with three shortcuts
    assert weights(released) == 17_158_106
    assert {layer.p for layer in released.modules() if isinstance(layer, nn.Dropout)} == {0.1}
    assert not small("wideresnet-16-8-released").network.linear.weight.any()


def test_dropout_is_between_the_convolutions_of_a_wide_block_and_only_in_training():
    model, x = small("wideresnet-16-8", dropout=0.5), torch.rand(2, 3, 8, 8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    block = PreActBlock(8, 8, 1, nn.ReLU, shortcut="preact", dropout=0.5)
    seen = []
    block.conv2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block(torch.randn(64, 8, 6, 6) + 5)  # half is above 0 behind BatchNorm and ReLU, half of that is dropped
    assert (seen[0] > 0).float().mean() == pytest.approx(0.25, abs=0.02)


def test_wideresnets_start_with_the_published_variance():
    model = build_model("wideresnet-16-8", width=4)
    weight = model.network.stages[2][1].conv1.weight
    assert weight.var().item() == pytest.approx(2 / (9 * 128), rel=0.02)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_network_takes_colour_and_grey_images_of_any_size(name, activation):
    for channels, size in ((1, 8), (3, 32), (3, 37)):
        if name == "resnet50" and channels == 1:
            continue
        mean = [0.5] * channels
        model = on_paper(name, num_classes=7, activation=activation, mean=mean, std=mean)
        assert model(torch.rand(2, channels, size, size, device="meta")).shape == (2, 7)
        types = {name: type(make()) for name, make in ACTIVATIONS.items()}
        assert {type(module) for module in model.modules()} & set(types.values()) == {types[activation]}


@pytest.mark.parametrize("name", [*MODELS, *FOREIGN_SMALL])
def test_fast_bat_trains_every_network(name):
    model, batch = small(name), Batch(torch.rand(2, 3, 32, 32), torch.arange(2))
    for loss in METHODS["fast-bat"](eps=8 / 255).losses(model, batch):
        loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_attention_has_its_second_derivatives_when_a_method_needs_them():
    model, batch = small("timm/test_vit2"), Batch(torch.rand(2, 3, 32, 32), torch.arange(2))
    for method in (METHODS["fast-bat"](eps=8 / 255, ig_mode="hessian-aware"), METHODS["fast-at-ga"](eps=8 / 255)):
        for loss in method.losses(model, batch):
            loss.backward()
        assert loss.isfinite()


def test_the_normalisation_is_inside():
    torch.manual_seed(1)
    plain = build_model("cnn", width=4)
    torch.manual_seed(1)
    inside = build_model("cnn", width=4, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    x = torch.rand(2, 3, 8, 8)
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]))
    assert torch.allclose(inside(x), plain((x - mean) / std))


def test_images_of_other_channels_are_refused_not_broadcast():
    with pytest.raises(ValueError, match="images of 1 channels, a model of 3"):
        build_model("cnn")(torch.rand(2, 1, 8, 8))


def test_the_activations_are_the_papers():
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    assert torch.allclose(ACTIVATIONS["relu"]()(x), x.clamp(min=0))
    assert torch.allclose(ACTIVATIONS["softplus"]()(x), torch.log1p(torch.exp(10 * x)) / 10)
    assert torch.allclose(ACTIVATIONS["swish"]()(x), x * torch.sigmoid(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "preactresnet8"}, "unknown model 'preactresnet8'; did you mean 'preactresnet18'"),
        ({"name": "cnn", "activation": "gelu"}, "unknown activation 'gelu'"),
        ({"name": "cnn", "num_classes": 0}, "num_classes is 0; a network needs at least 1"),
        ({"name": "preactresnet18", "stem": 5}, r"stem is 5; it must be 3 \(stride 1\), 7 \(stride 2\) or 15"),
        ({"name": "wideresnet-16-8", "dropout": 1.0}, r"dropout is 1; it must lie in \[0, 1\)"),
        ({"name": "cnn", "stem": 3}, "stem is 3, but cnn has no such setting; leave it out"),
        ({"name": "preactresnet18", "dropout": 0.3}, "dropout is 0.3, but preactresnet18 has no such setting"),
        ({"name": "resnet50", "width": 64}, "width is 64, but resnet50 has no such setting"),
        ({"name": "timm/test_resnet", "activation": "swish"}, "activation is swish, but timm/test_resnet has no such"),
        ({"name": "timm/test_resnt"}, "unknown timm model 'test_resnt'; did you mean 'test_resnet'[?] 1"),
        ({"name": "torchvision/resnet"}, "unknown torchvision model 'resnet'; did you mean"),
        ({"name": "torchvison/resnet18"}, "unknown model 'torchvison/resnet18'; did you mean 'torchvision/NAME'"),
        ({"name": "torchvision/resnet18", "mean": [0.5], "std": [0.5]}, "takes images of 3 channels, not 1"),
        ({"name": "no_such_module:net"}, "model no_such_module:net for 10 classes: ModuleNotFoundError"),
        ({"name": "math:net"}, "module 'math' has no attribute 'net'"),
        ({"name": "own:not_a_network"}, "model own:not_a_network returned int, not a torch.nn.Module"),
    ],
)
def test_a_network_that_cannot_be_built_is_an_input_error(arguments, message, tmp_path, monkeypatch):
    own_code(tmp_path, monkeypatch)
    with pytest.raises(InputError, match=message) as caught:
        build_model(**arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def own_code(folder, monkeypatch):
    """Write the module `own` into the working folder."""
    (folder / "own.py").write_text(
        "from torch import nn\n"
        "def net(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))\n"
        "def not_a_network(num_classes): return num_classes\n"
        "def no_classes(): return nn.Identity()\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own", raising=False)


def test_own_code_is_run_and_that_is_said(tmp_path, monkeypatch, capsys):
    own_code(tmp_path, monkeypatch)
    assert build_model("own:net", num_classes=7)(torch.rand(2, 3, 8, 8)).shape == (2, 7)
    assert f"model own:net runs {tmp_path / 'own.py'}" in capsys.readouterr().err


def test_timm_is_asked_for_only_when_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    build_model("cnn", width=2)
    with pytest.raises(InputError, match=r"timm/test_resnet needs timm: pip install timm"):
        build_model("timm/test_resnet")


def test_random_numbers_depend_on_their_key_alone():
    assert generator(0, "a", 3).random() == generator(0, "a", 3).random()
    draws = {generator(*key).random() for key in ((0, "a", 3), (0, "b", 3), (1, "a", 3), (0, "a", 4))}
    assert len(draws) == 4
    seed_torch(5, "step", 1)
    first = torch.rand(3)
    torch.rand(100)
    seed_torch(5, "step", 1)
    assert torch.equal(torch.rand(3), first)
    torch.manual_seed(int(generator(5, "step", 1).integers(2**63)))
    assert torch.equal(torch.rand(3), first)


def test_a_starting_point_belongs_to_its_image_whatever_the_batch():
    x = torch.zeros(6, 3, 5, 5)
    whole = uniform_starts(x, torch.arange(6), 0, "pgd", 2)
    part = uniform_starts(x[[4, 1]], torch.tensor([4, 1]), 0, "pgd", 2)
    assert torch.equal(part, whole[[4, 1]])
    assert F.mse_loss(whole[0], whole[1]) > 0.05
    assert 0 <= whole.min() < whole.max() < 1
