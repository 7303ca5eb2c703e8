"""On a GPU: no step waits for it, every method is what it is on a CPU, and a run trains, resumes and is judged."""

from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastbat.attacks.objective import cross_entropy
from fastbat.audit import evaluate_target
from fastbat.data import Batch
from fastbat.data.batch_check import COMING
from fastbat.errors import InputError
from fastbat.files import read_records, read_toml
from fastbat.methods import METHODS, FastBAT
from fastbat.models import build_model
from fastbat.runtime.precision import has_bf16, ieee_float32
from fastbat.tangent import directional
from fastbat.training import Settings, epoch, train
from fastbat.training.compile import Compiled
from fastbat.training.prepare import prepare
from test_methods import CASES, EPS, batch_of, method_of, model_of, update

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),  # that it is a prototype
    pytest.mark.filterwarnings("ignore:The .grad attribute"),  # torch.compile hides it, and pytest finds it
]

SMALL = Settings(epochs=2, width=4, model="preactresnet18", train_limit=300, select_limit=40, select_steps=2)
TRAINED = {name: case for name, case in CASES.items() if name != "fast-bat, hessian-aware"}  # whose solve asks
PLAIN = [name for name in TRAINED if not method_of(name).traits.differentiates_twice and CASES[name].method != "yopo"]


@pytest.mark.parametrize(
    ("name", "compile"), [*((name, False) for name in TRAINED), *((name, True) for name in PLAIN[:2])]
)
def test_no_update_waits_for_the_gpu(name: str, compile: bool, tmp_path: Any) -> None:
    """Batches, augmentation and schedule, too; the first two updates are left out, they make what is made once."""
    method = method_of(name)
    settings = replace(SMALL, batch_size=60, epochs=3, compile=compile, precision="auto")
    task, state, _ = prepare(method, settings)
    batches = task.loader.epoch(0)
    for step in range(2):
        epoch.update(task, state, next(batches), step)
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for step in (2, 3):
            epoch.update(task, state, next(batches), step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_bad_batch_is_reported_without_waiting_for_the_gpu() -> None:
    """Once the GPU's first batch was waited for: a later one is reported when a batch after it is made."""
    x, y = torch.rand(4, 3, 8, 8, device="cuda"), torch.zeros(4, dtype=torch.int64, device="cuda")
    Batch(x, y)
    bad = 2 * x - 1
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        with suppress(InputError):  # it may have come already
            Batch(bad, y)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    if COMING.of_gpu[x.device]:
        with pytest.raises(InputError, match="normalise inside the model"):
            Batch(x, y)
    COMING.of_gpu.clear()
    with pytest.raises(InputError, match="normalise inside the model"):
        Batch(bad, y)  # the first of its GPU: at once


@pytest.fixture
def host_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws on the CPU what a GPU would draw from a generator of its own."""
    for name in ("rand_like", "randn_like"):
        draw = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda x, draw=draw: draw(x.cpu()).to(x.device))


@pytest.mark.usefixtures("host_noise")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", CASES)
def test_every_method_has_the_gradient_that_it_has_on_a_cpu(name: str, layout: torch.memory_format) -> None:
    found = []
    for device in ("cpu", "cuda"):
        model, batch = model_of("preactresnet18").double().to(device, memory_format=layout), batch_of("preactresnet18")
        torch.manual_seed(3)
        values = update(method_of(name), model, replace(batch, x=batch.x.double().to(device), y=batch.y.to(device)))
        found.append([torch.tensor(values), *(weight.grad.cpu() for weight in model.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


CAPTURED = [name for name in TRAINED if not method_of(name).traits.memory and method_of(name).traits.replays == 1]


@pytest.mark.parametrize("name", CAPTURED)
def test_captured_updates_are_those_that_are_not(name: str) -> None:
    """Batches of two sizes, the noise of each update, BatchNorm's statistics."""
    found = []
    settings = replace(SMALL, batch_size=60, train_limit=150, ema=0.9, precision="float32")
    for capture in (False, True):
        task, state, _ = prepare(method_of(name), replace(settings, capture=capture))
        losses = [epoch.update(task, state, batch, step)["loss"] for step, batch in enumerate(task.loader.epoch(0))]
        found.append([torch.stack(losses), *state.model.state_dict().values(), *state.models["ema"].parameters()])
    assert len(losses) == 3
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_what_asks_for_the_number_of_its_update_is_not_captured() -> None:
    with pytest.raises(InputError, match=r"FastBAT cannot be captured .* know each batch's step"):
        prepare(FastBAT(EPS, ig_every=2), replace(SMALL, capture=True))


@pytest.mark.parametrize("compile", [False, True])
def test_the_tangent_in_float32_is_the_double_backward(compile: bool) -> None:
    torch.manual_seed(0)
    model, batch = build_model("preactresnet18", width=16).cuda().train(), batch_of("preactresnet18", 32)
    x, y, t = batch.x.cuda(), batch.y.cuda(), torch.randn(batch.x.shape, device="cuda")
    found = []
    with ieee_float32():
        directional(Compiled(model) if compile else model, x, y, t, cross_entropy).backward()
        found.append(flat(model))
        at = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(cross_entropy(model(at), y), at, create_graph=True)
        model.zero_grad()
        (g * t).sum().backward()
        found.append(flat(model))
    tangent, double = found
    assert torch.cosine_similarity(tangent, double, 0) > 0.9999
    assert (tangent - double).norm() < 1e-2 * double.norm()


def flat(model: nn.Module) -> Tensor:
    return torch.cat([weight.grad.flatten().double() for weight in model.parameters()])


def test_float32_is_float32_whatever_was_allowed_before() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(8, 64, 32, 32), torch.randn(64, 64, 3, 3)
    true = torch.conv2d(x.double(), weight.double())
    allowed = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("high")
        off = []
        for within in (ieee_float32, torch.no_grad):
            with within():
                found = torch.conv2d(x.cuda(), weight.cuda()).cpu().double()
                product = (x.cuda().view(-1, 1024) @ torch.eye(1024, device="cuda")).cpu().view_as(x)
            off.append(((found - true).norm() / true.norm(), (product - x).norm() / x.norm()))
    finally:
        torch.backends.cudnn.allow_tf32 = allowed[0]
        torch.set_float32_matmul_precision(allowed[1])
    (conv, matmul), (loose_conv, loose_matmul) = off
    assert max(conv, matmul) < 1e-6
    assert min(loose_conv, loose_matmul) > 1e-5  # else this would show nothing


@pytest.mark.parametrize("compile", [False, True])
def test_a_run_trains_is_stopped_and_resumed(compile: bool, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    method, settings = FastBAT(EPS, ig_every=2), replace(SMALL, compile=compile, ema=0.9, device="cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("fastbat.training.train"), "epoch_line", stop)
        with pytest.raises(KeyboardInterrupt):
            train(method, settings, tmp_path / "run")
    run = train(method, settings, tmp_path / "run", resume=True)
    precision = "bf16" if has_bf16(torch.device("cuda")) else "float32"
    assert f"training in {precision} on cuda" in capsys.readouterr().err
    records = read_records(run.metrics)
    assert [record["epoch"] for record in records] == [1, 2]
    assert all(0 < record["peak_memory_mib"] < 4000 and record["term"] > 0 for record in records)
    assert read_toml(run.config)["precision"] == precision
    on_gpu, on_cpu = (evaluate_target(run.path, attacks=("clean", "pgd"), limit=60, device=d) for d in ("cuda", "cpu"))
    for a, b in zip(on_gpu.accuracies, on_cpu.accuracies, strict=True):
        assert abs(a.percent - b.percent) <= 5


def stop(*_: Any) -> str:
    raise KeyboardInterrupt


def test_fast_at_trains_as_well_as_on_a_cpu(tmp_path: Any) -> None:
    settings = replace(SMALL, model="cnn", epochs=6, train_limit=None, select_limit=None, precision="float32", width=16)
    robust = []
    for device in ("cpu", "cuda"):
        run = train(METHODS["fast-at"](EPS), replace(settings, device=device), tmp_path / device)
        robust.append(max(record["val_ra"] for record in read_records(run.metrics)))
    assert abs(robust[0] - robust[1]) < 10
    assert min(robust) > 50
