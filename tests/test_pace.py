"""How a step runs: it waits for no device, in any layout and in parts it is the same step, compiled or not."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastbat.attacks.gradient import input_gradient
from fastbat.attacks.objective import cross_entropy
from fastbat.data import Batch
from fastbat.data.batch import LoadedBatch
from fastbat.errors import InputError
from fastbat.methods import METHODS, FastBAT
from fastbat.methods.fast_at_ga import FastATGA
from fastbat.models import build_model
from fastbat.models.build import MODELS, Architecture
from fastbat.randomness import drawn_for_whole, seed_torch
from fastbat.runtime.layout import pick_layout
from fastbat.runtime.modes import frozen_weights
from fastbat.tangent import directional, push
from fastbat.training import Settings, train
from fastbat.training import compile as compiling
from fastbat.training.compile import Compiled
from fastbat.training.gradients import gradients, means
from fastbat.training.prepare import prepare
from test_methods import CASES, EPS, batch_of, method_of, model_of, update

SMALL = Settings(epochs=1, width=4, train_limit=300, select_limit=40, select_steps=1)
CPU = torch.device("cpu")
READ_BACK = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal"}  # a GPU is waited for here


class Reads(TorchDispatchMode):
    """Keeps what is read back from the device, and all that an index by a mask is."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name.startswith("index") and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in READ_BACK or masks:
            self.found.append(args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [name for name in CASES if name != "fast-bat, hessian-aware"])
def test_no_step_waits_for_its_device(name: str) -> None:
    """The Hessian-aware solve asks whether it has converged; what is kept of each image asks the host's own index."""
    method, model, batch = method_of(name), model_of("preactresnet18"), batch_of("preactresnet18")
    with Reads() as reads:
        for loss in method.losses(model, batch):
            loss.backward()
    asks = name.startswith("atta") or name in ("fgsm-rs-cs", "fgsm-mep")
    assert [int(each) for each in reads.found] == ([int(batch.index.max())] if asks else [])


@pytest.mark.parametrize("name", [name for name in CASES if name != "fast-bat, hessian-aware"])
def test_no_number_decides_what_a_step_does(name: str) -> None:
    """On the meta device there are shapes and no numbers: a step that read one, or whose shapes did, would raise."""
    model, batch = model_of("preactresnet18").to("meta"), batch_of("preactresnet18")
    on_meta = {part: getattr(batch, part).to("meta") for part in ("x", "y")}
    given = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "log"}
    for loss in method_of(name).losses(model, LoadedBatch(**given | on_meta)):
        loss.backward()
    assert all(weight.grad.shape == weight.shape for weight in model.parameters())


@pytest.mark.parametrize("name", ["fast-at", "pgd-2", "fast-bat, none", "n-fgsm"])
def test_the_passes_of_an_attack_hold_the_weights(name: str) -> None:
    model, held = model_of("cnn"), []
    model.register_forward_hook(lambda *_: held.append(not any(p.requires_grad for p in model.parameters())))
    update(method_of(name), model, batch_of("cnn"))
    assert held == [True] * (len(held) - 1) + [False]
    some = next(model.parameters()).requires_grad_(False)
    with pytest.raises(ZeroDivisionError):
        input_gradient(model, *vars_of(batch_of("cnn")), objective=lambda logits, y: 1 / 0)
    assert [p is some for p in model.parameters()] == [not p.requires_grad for p in model.parameters()]


def vars_of(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    return batch.x, batch.y, torch.zeros_like(batch.x)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.method != "yopo"])
def test_channels_last_is_the_same_step(name: str) -> None:
    grads = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model, batch = model_of("preactresnet18").double().to(memory_format=layout), batch_of("preactresnet18")
        torch.manual_seed(3)
        update(method_of(name), model, replace(batch, x=batch.x.double()))
        grads.append([weight.grad for weight in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("has", "asked", "taken"),
    [(True, "auto", "bf16"), (False, "auto", "float32"), (True, "float32", "float32"), (False, "bf16", "bf16")],
)
def test_precision_is_chosen_by_the_device_unless_it_is_given(has, asked, taken, monkeypatch):
    monkeypatch.setattr("fastbat.runtime.precision.has_bf16", lambda device: has)
    task, _, _ = prepare(FastBAT(EPS), replace(SMALL, precision=asked))
    assert task.settings.precision == taken


def test_the_layout_is_the_usual_one_where_a_method_differentiates_twice():
    fast, ga, exact, cheap = (
        METHODS["fast-at"](EPS),
        METHODS["fast-at-ga"](EPS, penalty="double"),
        FastBAT(EPS, ig_mode="hessian-free"),
        FastBAT(EPS),
    )
    net = build_model("preactresnet18", width=16)
    methods = fast, cheap, replace(exact, ig_weight=0), ga, exact
    twice = [method.traits.differentiates_twice for method in methods]
    assert twice == [False] * 3 + [True] * 2
    how = {"ours": True, "precision": "bf16", "device": CPU}
    layouts = [pick_layout(net, twice=each, **how) for each in twice]
    assert layouts == [torch.channels_last] * 3 + [torch.contiguous_format] * 2
    assert pick_layout(net, twice=False, **how | {"ours": False}) is torch.contiguous_format
    cuda = {"precision": "float32", "device": torch.device("cuda")}
    assert pick_layout(net, twice=False, **how | cuda) is torch.contiguous_format


@pytest.mark.parametrize(("width", "layout"), [(8, torch.contiguous_format), (16, torch.channels_last)])
def test_a_narrow_networks_shortcuts_are_kept_from_the_layout_in_which_they_write_past_their_memory(width, layout):
    net, how = build_model("preactresnet18", width=width), {"ours": True, "twice": False}
    for precision in ("float32", "bf16"):
        assert pick_layout(net, precision=precision, device=CPU, **how) is layout
    assert pick_layout(net, precision="bf16", device=torch.device("cuda"), **how) is torch.channels_last
    cnn = build_model("cnn", width=4)
    assert pick_layout(cnn, precision="bf16", device=CPU, **how) is torch.channels_last


def test_how_steps_run_is_said(tmp_path, capsys):
    train(METHODS["fast-at"](EPS), replace(SMALL, precision="float32"), tmp_path / "fast")
    train(FastBAT(EPS, ig_mode="hessian-free"), replace(SMALL, precision="float32"), tmp_path / "twice")
    first, second = (line for line in capsys.readouterr().err.splitlines() if line.startswith("training in"))
    assert first.startswith("training in float32 on cpu, ")
    assert first.endswith("; channels-last, where convolutions are faster")
    assert second.endswith("; the usual layout: the method differentiates twice")


@pytest.mark.parametrize(
    ("size", "parts", "sizes"), [(8, 1, [8]), (8, 4, [2] * 4), (7, 2, [4, 3]), (3, 8, [3]), (5, 8, [2, 3])]
)
def test_a_batch_is_cut_into_parts_of_nearly_one_size(size, parts, sizes):
    whole = batch_of("cnn", size)
    cut = whole.split(parts)
    assert [len(part.y) for part in cut] == sizes
    for name in ("x", "y", "index"):
        assert torch.equal(torch.cat([getattr(part, name) for part in cut]), getattr(whole, name))
    for name in ("top", "left", "flip"):
        assert torch.equal(torch.cat([getattr(part.view, name) for part in cut]), getattr(whole.view, name))


@pytest.mark.parametrize("size", [12, 11])
def test_the_parts_gradients_are_the_batchs(size, tmp_path, monkeypatch):
    model = model_of("cnn").double().eval()  # BatchNorm in train mode would see the parts
    monkeypatch.setattr(model, "train", lambda mode=True: model)
    batch = batch_of("cnn", size)
    batch = replace(batch, x=batch.x.double(), label_smoothing=0.1)
    found = []
    for parts in (1, 5):
        model.zero_grad()
        loss = means(gradients(METHODS["standard"](eps=0), model, batch, parts, ()))["loss"]
        found.append((loss, [weight.grad.clone() for weight in model.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)


def test_in_parts_the_share_of_the_term_is_that_of_the_first():
    model, batch = model_of("preactresnet18"), batch_of("preactresnet18", 8)
    method, first = FastBAT(EPS, ig_mode="tangent"), batch.split(2)[0]
    seed_torch(5)
    with drawn_for_whole(8, torch.arange(4), 5):
        update(method, model, first)
    model.zero_grad()
    assert means(gradients(method, model, batch, 2, (5,)))["term"].item() == pytest.approx(
        first.log["term"].item(), rel=1e-4
    )


@pytest.mark.parametrize("name", [name for name in METHODS if name != "free-at"])
def test_every_method_trains_in_parts(name, tmp_path, monkeypatch):
    sizes = []
    forward = nn.Conv2d.forward

    def seen(layer: nn.Conv2d, x: Tensor) -> Tensor:
        sizes.append(len(x))
        return forward(layer, x)

    monkeypatch.setattr(nn.Conv2d, "forward", seen)
    train(METHODS[name](eps=EPS), replace(SMALL, accumulate=4, ga_images=40), tmp_path / "run")
    assert max(sizes) == (96 if name == "elle-a" else 32)  # of batches of 128, in selection too; ELLE-A has triplets


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (METHODS["free-at"](EPS), {"accumulate": 2}, "take a smaller batch_size"),
        (METHODS["fast-at"](EPS), {"accumulate": 0}, "accumulate is 0; it must be at least 1"),
        (FastBAT(EPS, ig_mode="hessian-free"), {"compile": True}, "FastBAT differentiates .* or take ig_mode tangent"),
        (FastATGA(EPS, penalty="double"), {"compile": True}, "FastATGA differentiates .* or take penalty tangent"),
        (METHODS["yopo"](EPS), {"compile": True}, "Yopo stops the network behind its first layer; leave it out"),
        (METHODS["atta"](EPS), {"capture": True}, "Atta has a memory, which a CUDA graph cannot have; leave it out"),
        (METHODS["free-at"](EPS), {"capture": True}, "FreeAT has a memory, which a CUDA graph cannot have"),
        (METHODS["fast-at"](EPS), {"capture": True, "accumulate": 2}, "a CUDA graph has whole batches: leave one out"),
        (METHODS["fast-at"](EPS), {"capture": True, "device": "cpu"}, "the device is cpu: a CUDA graph needs a GPU"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(method, settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(method, replace(SMALL, **settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


compiles = pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch.compile hides it, and pytest finds it


@pytest.fixture(scope="module")
def compiler() -> None:
    """Something that compiles, or the test is skipped."""
    try:
        torch.compile(torch.sin)(torch.zeros(1))
    except Exception as error:
        pytest.skip(f"torch.compile does not run here: {type(error).__name__}")


def small(num_classes: int = 4) -> nn.Module:
    """A network of few layers, as each kernel takes seconds to compile."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, num_classes)).train()


@compiles
@pytest.mark.parametrize("name", ["fast-at", "fgsm-mep"])  # the second goes back through one pass twice
def test_a_compiled_network_is_the_network_and_runs_other_sizes_as_it_is(name, compiler):
    plain, model = small(), small()
    fast = Compiled(model)
    calls = []
    fast.fast = {key: lambda x, run=run: calls.append(len(x)) or run(x) for key, run in fast.fast.items()}
    for size in (6, 5):
        grads = []
        for net in (plain, fast):
            torch.manual_seed(3)
            update(METHODS[name](EPS), net, batch_of("cnn", size))
            grads.append([weight.grad for weight in net.parameters()])
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert calls == [6, 6]


@compiles
def test_weights_that_were_held_take_gradients_again(compiler):
    """Which torch 2.11 does not see: compiled for held weights, the tangent's first loss left them no gradient."""
    batch, found = batch_of("cnn"), []
    for fast in (False, True):
        model = small()
        net = Compiled(model) if fast else model
        with frozen_weights(model):
            at = batch.x.clone().requires_grad_()
            net(at).sum().backward()
        at = batch.x.clone().requires_grad_()
        torch.nn.functional.cross_entropy(net(at), batch.y).backward()
        found.append([at.grad, *(weight.grad for weight in model.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@compiles
def test_a_compiled_tangent_is_that_of_its_own_network(compiler, monkeypatch):
    """In float32, of networks whose weights have one shape; the statistics stay; compiled, no rule is asked again."""
    batch = batch_of("preactresnet18")
    t, (channels, side) = torch.randn_like(batch.x), batch.x.shape[1:3]
    for activation in (nn.ReLU, nn.SiLU):
        found = []
        for fast in (False, True):
            torch.manual_seed(0)
            first = (nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), activation())
            model = nn.Sequential(*first, nn.Flatten(), nn.Linear(4 * side * side, 4)).train()
            net = Compiled(model) if fast else model
            directional(net, batch.x, batch.y, t, cross_entropy).backward()
            found.append([*(weight.grad.clone() for weight in model.parameters()), *model.buffers()])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
        with monkeypatch.context() as patch:
            patch.setattr("fastbat.tangent.RULES", {})
            push(net, batch.x, t)  # would lack its rules if it ran layer by layer


@compiles
def test_a_network_without_a_tangent_cannot_be_compiled_and_that_is_said_first(compiler, tmp_path, monkeypatch, capsys):
    (tmp_path / "odd.py").write_text(
        "import torch\n\n\ndef net(**_):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Tanh())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = replace(SMALL, compile=True, width=None, model="odd:net")
    with pytest.raises(InputError, match=r"compile is on, but .* the network has no tangent \(tanh\); leave"):
        train(FastBAT(EPS), settings, tmp_path / "run")
    assert "no tangent of this network (tanh): differentiating twice instead" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_narrow_network_is_not_compiled_on_a_cpu(tmp_path):
    settings = replace(SMALL, compile=True, model="preactresnet18", width=8)
    with pytest.raises(InputError, match=r"from fewer than 16 channels write past their memory .*; leave it out, or"):
        train(FastBAT(EPS), settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@compiles
def test_a_tangent_that_cannot_be_compiled_is_no_network_without_one(compiler, monkeypatch):
    def broken(_: Any) -> Any:
        raise ValueError("no such register")

    monkeypatch.setattr(compiling, "compiled_tangent", lambda model: broken)
    net, batch = Compiled(model_of("cnn")), batch_of("cnn")
    with pytest.raises(InputError, match=r"the tangent does not run compiled \(no such register\); leave it out"):
        directional(net, batch.x, batch.y, batch.x, cross_entropy)


@compiles
def test_training_compiles_on_demand(compiler, tmp_path, monkeypatch):
    compile, calls = torch.compile, []

    def counted(f: Any, **how: Any) -> Any:
        run = compile(f, **how)
        return lambda *xs: calls.append(len(xs[-1])) or run(*xs)

    monkeypatch.setattr(torch, "compile", counted)
    few_layers = Architecture("", lambda num_classes, **_: small(num_classes), {"width": 4})
    monkeypatch.setitem(MODELS, "cnn", few_layers)
    torch._dynamo.utils.counters.clear()
    settings = replace(SMALL, compile=True, train_limit=250, batch_size=100)
    train(FastBAT(EPS), settings, tmp_path / "run")
    assert calls == [1] + [100] * 4 * 2  # a trial, then three passes of each full batch and a tangent's
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1
    assert not torch._dynamo.utils.counters["graph_break"]


def test_a_network_that_cannot_be_compiled_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("BackendCompilerFailed: no lowering")

    monkeypatch.setattr(torch, "compile", lambda f, **_: f if f is torch.sin else broken)
    (tmp_path / "odd.py").write_text(
        "import torch\n\n\ndef net(**_):\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = replace(SMALL, compile=True, width=None, model="odd:net")
    with pytest.raises(InputError, match=r"FastAT cannot train this model.*no lowering"):
        train(METHODS["fast-at"](EPS), settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_to_compile_with_is_said_in_a_line(monkeypatch, tmp_path):
    def compile(*_: Any, **__: Any) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", lambda f, **_: compile)
    with pytest.raises(InputError, match=r"nothing can be compiled here \(InvalidCxxCompiler.*leave it out"):
        train(METHODS["fast-at"](EPS), replace(SMALL, compile=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()
