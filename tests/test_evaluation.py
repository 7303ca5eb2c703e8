"""Evaluation: counts against plain loops and pyautoattack itself, examples checked, intervals and bad input."""

import json
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyautoattack import AutoAttack
from scipy.stats import binomtest
from torch import nn
from torch.nn import functional as F

import fastbat
from conftest import trained, trained_cnn
from fastbat.attacks.ensemble import without_ties
from fastbat.attacks.inside import inside
from fastbat.attacks.pgd import pgd
from fastbat.data.batch_check import ROUNDING
from fastbat.data.images import Images
from fastbat.errors import InputError
from fastbat.evaluation import Accuracy, Evaluation, RedFlag, frozen, gradient_alignment, paired, wilson
from fastbat.evaluation.attacked import AttackedModel, TestImages
from fastbat.evaluation.check import gather
from fastbat.evaluation.measures import adversarial, attack, correct, robust
from fastbat.evaluation.request import budgets_of, check_seed, whole
from fastbat.evaluation.rounds import Plan
from fastbat.evaluation.runner import Runner
from fastbat.geometry import TOLERANCE, tiny
from fastbat.models import build_model
from fastbat.randomness import generator
from fastbat.runtime.precision import Autocast

EPS = 0.1


def test_pgd_breaks_the_samples_a_plain_loop_breaks():
    model, x, y = trained_cnn()
    model, x, y = model.double(), x[:30].double(), y[:30]
    images, rounds = TestImages.of(x, y, model), Plan(EPS, 10, seed=3, steps=7, restarts=3).rounds("pgd")
    clean = correct(model, images)
    found = robust(AttackedModel.of(model), images, clean, rounds, EPS, batch_size=13)
    plain = model(x).argmax(1) == y
    for restart in range(3):
        for i in range(30):
            noise = generator(3, "pgd", restart, i).random((1, 8, 8), dtype="float32")
            delta = EPS * (2 * torch.from_numpy(noise).double() - 1)
            delta = (x[i] + delta).clamp(0, 1) - x[i]
            for _ in range(7):
                delta.requires_grad_()
                loss = F.cross_entropy(model((x[i] + delta)[None]), y[i : i + 1])
                delta = delta.detach() + EPS / 4 * torch.autograd.grad(loss, delta)[0].sign()
                delta = (x[i] + delta.clamp(-EPS, EPS)).clamp(0, 1) - x[i]
            plain[i] &= model((x[i] + delta)[None]).argmax() == y[i]
    assert 0 < plain.sum() < clean.sum() <= 30
    assert torch.equal(found, plain)


def plain_pgd_50_10(model, x, y, eps):
    """Which images withstand every one of 10 restarts of 50 steps, all at once and none of them left out."""
    keys = [("pgd", restart, i) for restart in range(10) for i in range(len(x))]
    noise = [generator(0, *key).random(x.shape[1:], dtype="float32") for key in keys]
    robust, x, y = model(x).argmax(1) == y, x.repeat(10, 1, 1, 1), y.repeat(10)
    delta = eps * (2 * torch.from_numpy(np.stack(noise)).to(x) - 1)
    delta = (x + delta).clamp(0, 1) - x
    for _ in range(50):
        delta.requires_grad_()
        loss = F.cross_entropy(model(x + delta), y)
        delta = delta.detach() + eps / 4 * torch.autograd.grad(loss, delta)[0].sign()
        delta = (x + delta.clamp(-eps, eps)).clamp(0, 1) - x
    return robust & (model(x + delta).argmax(1) == y).view(10, -1).all(0)


def test_ra_pgd_50_10_in_float64_breaks_the_very_images_of_a_plain_loop():
    model, x, y = trained_cnn()
    model, x, y = model.double(), x[:40].double(), y[:40]
    plain = plain_pgd_50_10(model, x, y, EPS)
    images = TestImages.of(x, y, model)
    rounds = Plan(EPS, 10).rounds("pgd")
    ours = robust(AttackedModel.of(model), images, correct(model, images), rounds, EPS, batch_size=25)
    assert 0 < plain.sum() < 40
    assert torch.equal(ours, plain)
    assert fastbat.evaluate(model, (x, y), eps=EPS, batch_size=25).ra_pgd.hits == plain.sum()


def test_ra_pgd_50_10_of_a_preactresnet18_in_float32_is_within_an_image_of_a_plain_loop():
    model, x, y = trained(build_model("preactresnet18", width=2, mean=[0.3], std=[0.4]), 10, 15)
    x, y = x[:50], y[:50]
    plain = plain_pgd_50_10(model, x, y, 0.03)
    ours = fastbat.evaluate(model, (x, y), eps=0.03, precision="float32").ra_pgd.hits
    assert 5 < plain.sum() < 45
    assert abs(ours - int(plain.sum())) <= 1


def test_pgd_does_not_depend_on_the_batch_size():
    model, x, y = trained_cnn()
    model, x, y = model.double(), x[:50].double(), y[:50]
    images, rounds = TestImages.of(x, y, model), Plan(EPS, 10, steps=5, restarts=2).rounds("pgd")
    clean = correct(model, images)
    results = [robust(AttackedModel.of(model), images, clean, rounds, EPS, size) for size in (7, 50)]
    assert torch.equal(*results)


FEW_QUERIES = property(lambda self: 100, lambda self, queries: None)  # whatever is asked for afterwards


@pytest.fixture
def short_autoattack(monkeypatch):
    """pyautoattack with a tenth of its iterations and fewer queries, ours and the direct call alike."""
    full = AutoAttack.__init__

    def short(self, *args, **kwargs):
        full(self, *args, **kwargs)
        self.apgd.n_iter = self.apgd_targeted.n_iter = self.fab.n_iter = 10
        self.square.__class__ = type("Few", (type(self.square),), {"n_queries": FEW_QUERIES})

    monkeypatch.setattr(AutoAttack, "__init__", short)


def test_autoattack_equals_pyautoattack_called_directly(short_autoattack):
    model, x, y = trained_cnn()
    x, y = x[:60], y[:60]
    with frozen(model):
        direct = AutoAttack(model, eps=EPS, seed=5)
        direct.verbose = False
        x_direct, y_direct = direct.run_standard_evaluation(x, y, batch_size=60)
        clean = correct(model, TestImages.of(x, y, model))
        bare = AttackedModel(model, model, model)
        ours = attack(bare, x[clean], y[clean], torch.arange(60)[clean], Plan(EPS, 10, 5).rounds("aa"), EPS)
    assert 0 < ours.broken.sum() < 60
    assert torch.equal(ours.x_adv, x_direct[clean])
    assert torch.equal(ours.broken, (y_direct != y)[clean])


def test_ra_aa_equals_pyautoattack_at_full_length():
    quick = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    model, x, y = trained(quick, 10, 30)
    x, y = x[:8], y[:8]
    with frozen(model):
        direct = AutoAttack(model, eps=EPS, seed=5)
        direct.verbose = False
        _, y_direct = direct.run_standard_evaluation(x, y, batch_size=8)
    measured = fastbat.evaluate(model, (x, y), eps=EPS, attacks=["aa"], seed=5, batch_size=8, precision="float32")
    assert (measured.ra_aa.hits, measured.ra_aa.rejected) == (int((y_direct == y).sum()), 0)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_autoattack_takes_few_classes(classes, short_autoattack):
    model, x, y = trained_cnn(classes)
    measured = fastbat.evaluate(model, (x[:8], y[:8]), eps=2 * EPS, attacks=["clean", "aa"])
    assert measured.settings["aa_parts"][0] == "apgd-ce"
    assert ("apgd-t" in measured.settings["aa_parts"]) == (classes >= 4)
    few = "RA-AA: apgd-ce, square; apgd-t, fab-t need at least 4 classes"
    assert [remark for remark in measured.remarks() if remark.startswith("RA-AA")] == ([few] if classes < 4 else [])
    assert 0 <= measured.ra_aa.hits <= measured.sa.hits


def test_accuracies_of_a_model_that_is_wrong_everywhere_are_zero():
    model, x, y = trained_cnn()
    measured = fastbat.evaluate(model, (x[:10], (y[:10] + 1) % 10), eps=EPS, attacks=["clean", "pgd", "aa"])
    assert (measured.sa.hits, measured.ra_pgd.hits, measured.ra_aa.hits) == (0, 0, 0)


class Threshold(nn.Module):
    """Class 1 where the mean of the image exceeds 1/2: the most an attack can do is known."""

    def forward(self, x):
        score = x.flatten(1).mean(1) - 0.5
        return torch.stack([-score, score], 1)


def test_a_linear_model_is_exactly_as_robust_as_its_margin_says(short_autoattack):
    x = torch.linspace(0.3, 0.7, 12).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    y = (x[:, 0, 0, 0] > 0.5).long()
    measured = fastbat.evaluate(Threshold(), (x, y), eps=0.105, attacks=("clean", "pgd", "aa"), pgd_restarts=1)
    margin = int(((x[:, 0, 0, 0] - 0.5).abs() > 0.105).sum())
    assert (measured.sa.hits, measured.ra_pgd.hits, measured.ra_aa.hits) == (12, margin, margin)


def test_only_examples_inside_the_ball_and_misclassified_count():
    x, y = torch.full((4, 1, 4, 4), 0.45), torch.zeros(4, dtype=torch.int64)
    shifts = torch.tensor([0.06, 0.06, 0.04, 0.0])[:, None, None, None]
    x_adv = x + shifts
    x_adv[1, 0, 0, 0] = 1.2  # outside [0, 1] and the ball
    assert adversarial(Threshold(), x, x_adv, y, eps=0.06).tolist() == [True, False, False, False]
    assert adversarial(Threshold(), x, x_adv, y, eps=0.05).tolist() == [False] * 4


def test_the_model_is_put_back_as_it_was():
    model = build_model("preactresnet18", width=2, num_classes=4)
    model.network.stem.weight.requires_grad_(False)
    model.network.bn.eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    fastbat.evaluate(model, (torch.rand(6, 3, 8, 8), torch.arange(6) % 4), eps=EPS, pgd_steps=1, pgd_restarts=1)
    assert model.training
    assert not model.network.bn.training
    assert not model.network.stem.weight.requires_grad
    assert model.network.linear.weight.requires_grad
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), before)


def test_the_callers_precision_and_gradient_mode_change_nothing():
    model, x, y = trained_cnn()
    seen = []
    model.network[0].register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    contexts = [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16), torch.enable_grad]
    how = {"eps": EPS, "pgd_steps": 3, "pgd_restarts": 1, "precision": "float32"}
    counts = set()
    for context in contexts:
        with context():
            counts.add(fastbat.evaluate(model, (x[:40], y[:40]), **how).ra_pgd.hits)
    assert len(counts) == 1
    assert set(seen) == {torch.float32}


def test_within_frozen_no_backend_rounds_float32():
    backends = torch.backends
    places = [
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
    ]
    backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        before = [place.fp32_precision for place in places]
        with frozen(nn.Identity()):
            assert [place.fp32_precision for place in places] == ["ieee"] * 5
        assert [place.fp32_precision for place in places] == before
        assert backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        backends.mkldnn.matmul.fp32_precision = "none"


def test_within_frozen_the_older_switches_are_off_too_and_then_as_they_were():
    def state():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = state()
    try:
        for tf32, precision in ((True, "high"), (False, "highest")):
            torch.set_float32_matmul_precision(precision)
            torch.backends.cudnn.allow_tf32 = tf32
            with frozen(nn.Identity()):
                assert state() == ("highest", False)
            assert state() == (precision, tf32)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_pgd_is_50_steps_of_a_quarter_eps_from_10_starts(monkeypatch):
    model, x, y = trained_cnn()
    calls = []

    def spy(model, x, y, start, **how):
        calls.append((how["steps"], how["step"], how["eps"]))
        return torch.zeros_like(x)

    monkeypatch.setattr("fastbat.evaluation.rounds.pgd", spy)
    result = fastbat.evaluate(model, (x[:5], y[:5]), eps=EPS)
    assert calls[:10] == [(50, EPS / 4, EPS)] * 10
    assert result.ra_pgd.label == "RA-PGD-50-10"


def test_an_example_that_fails_its_check_is_rejected(monkeypatch):
    model, x, y = trained_cnn()
    monkeypatch.setattr("fastbat.evaluation.rounds.autoattack_part", lambda part, model, x, y, **_: x + 8 * EPS)
    x, y = x[:6], model(x[:6]).argmax(1)
    result = fastbat.evaluate(model, (x, y), eps=EPS, attacks=["apgd-ce"])
    assert result["apgd-ce"].hits == 6
    assert result["apgd-ce"].rejected == int((model((x + 8 * EPS).clamp(0, 1)).argmax(1) != y).sum()) > 0


def test_a_loader_and_tensors_give_the_same():
    model, x, y = trained_cnn()
    pairs = list(zip(x[:40].split(16), y[:40].split(16), strict=True))
    batches = [fastbat.Batch(*pair) for pair in pairs]
    results = [
        fastbat.evaluate(model, data, eps=EPS, pgd_steps=3, pgd_restarts=1, limit=30)
        for data in ((x[:40], y[:40]), pairs, batches)
    ]
    assert {(r.n, r.sa.hits, r.ra_pgd.hits) for r in results} == {(30, results[0].sa.hits, results[0].ra_pgd.hits)}


def test_the_record_is_json_with_n_intervals_and_seconds():
    model, x, y = trained_cnn()
    result = fastbat.evaluate(model, (x[:20], y[:20]), eps=EPS, pgd_steps=2, pgd_restarts=1)
    record = json.loads(json.dumps(result.record()))
    clean, pgd = record["accuracies"]
    assert (record["schema"], record["n"], clean["attack"], pgd["attack"]) == (3, 20, "clean", "pgd")
    assert record["eps_255"] == pgd["eps_255"] == pytest.approx(25.5)
    assert (record["sa"], record["ra_pgd"]) == (clean["percent"], pgd["percent"])
    assert "ra_aa" not in record
    assert clean["percent"] == 5 * clean["hits"] == 5 * result.sa.hits
    assert pgd["interval"][0] <= pgd["percent"] <= pgd["interval"][1]
    assert pgd["seconds"] > 0
    assert sum(
        share * int((y[:20] == k).sum()) for k, share in enumerate(clean["per_class"]) if share
    ) == pytest.approx(100 * clean["hits"], abs=1)
    assert {"seed", "precision", "weights", "images", "versions"} <= record["settings"].keys()


def test_the_mask_says_which_images_are_right():
    model, x, y = trained_cnn()
    result = fastbat.evaluate(model, (x[:21], y[:21]), eps=EPS, attacks=["clean", "noise"])
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(result.sa.mask), np.uint8))
    assert bits.tolist() == [*(model(x[:21]).argmax(1) == y[:21]).int().tolist(), 0, 0, 0]
    assert int(result["noise"].mask, 16).bit_count() == result["noise"].hits


def test_paired_intervals_by_hand_and_by_their_coverage():
    # 12 images: 4 that only the first has right, 1 that only the second has: Bonett and Price's adjusted Wald interval
    gain, low, high = paired("f800", "0c00", 12)
    assert gain == pytest.approx(100 * (4 - 1) / 12)
    half = 1.959964 * math.sqrt((5 + 2) / 14 - (3 / 14) ** 2) / math.sqrt(14)
    assert (low, high) == pytest.approx((100 * (3 / 14 - half), 100 * (3 / 14 + half)), rel=1e-6)
    for wrong in (("f800", "0c00", 20), ("f800", "0c", 12), ("", "", 0)):
        with pytest.raises(InputError, match="digits are not of"):
            paired(*wrong)
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        which = rng.choice(4, size=200, p=[0.3, 0.12, 0.07, 0.51])  # both, the first alone, the second alone, neither
        masks = [np.packbits(np.isin(which, some)).tobytes().hex() for some in ((0, 1), (0, 2))]
        _, low, high = paired(*masks, 200)
        covered += low <= 5 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_wilson_intervals_against_published_values():
    # Newcombe (1998), Table I: 81/263, 15/148, 0/20, 1/29
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (hits, n), (low, high) in published.items():
        assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_solves_its_equation(case):
    hits, n = case
    for end in wilson(hits, n):
        if 1e-12 < end < 1 - 1e-12:
            assert abs(hits / n - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / n), rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 10_000])
def test_wilson_is_scipys(n):
    for hits in {0, 1, n // 3, n // 2, n - 1, n}:
        assert wilson(hits, n) == pytest.approx(binomtest(hits, n).proportion_ci(method="wilson"), abs=1e-12)


class Wrapped(nn.Module):
    """A network whose logits go through a function."""

    def __init__(self, change):
        super().__init__()
        self.network, self.change = build_model("cnn", width=2, num_classes=4), change

    def forward(self, x):
        return self.change(self.network(x))


GOOD_X, GOOD_Y = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
BAD_CALLS = {
    "images above 1": ({"x": GOOD_X * 255}, r"images lie in \[.*\]; they must lie in \[0, 1\]"),
    "images below 0": ({"x": GOOD_X - 0.5}, r"images lie in \[-0"),
    "NaN": ({"x": torch.where(GOOD_X > 0.5, GOOD_X, torch.nan)}, r"4 images are not finite, the first at 0"),
    "infinity": ({"x": torch.cat([GOOD_X[:3], GOOD_X[3:] / 0])}, r"1 images are not finite, the first at 3"),
    "bytes": ({"x": (GOOD_X * 255).byte()}, "images are torch.uint8"),
    "three dimensions": ({"x": GOOD_X[0]}, r"images of shape \(3, 8, 8\)"),
    "lengths": ({"y": GOOD_Y[:3]}, r"labels \(3,\)"),
    "float labels": ({"y": GOOD_Y.float()}, "labels torch.float32"),
    "no images": ({"x": GOOD_X[:0], "y": GOOD_Y[:0]}, "no images"),
    "a label too high": ({"y": GOOD_Y + 1}, r"labels lie in 1\.\.4, but the model has 4 outputs"),
    "a negative label": ({"y": GOOD_Y - 1}, r"labels lie in -1\.\.2"),
    "grey images": (
        {"x": GOOD_X[:, :1]},
        r"the model does not take torch.float32 images of shape \(1, 1, 8, 8\): ValueError: images of 1 channels",
    ),
    "eps 0": ({"eps": 0}, r"eps is 0/255; it must lie above 0"),
    "eps below 0": ({"eps": -0.1}, r"eps is -25.5/255"),
    "eps on the other scale": ({"eps": 8}, r"eps is 2040/255"),
    "half precision": ({"x": GOOD_X.half()}, "images are torch.float16"),
    "a seed below 0": ({"seed": -1}, "seed is -1; it must be a whole number from 0"),
    "half a step": ({"pgd_steps": 1.5}, "pgd_steps is 1.5; it must be a whole number"),
    "eps as text": ({"eps": "8"}, "eps is a str; it must be a number"),
    "no data": ({"data": None}, "a network is measured on images of yours"),
    "a loader of dicts": ({"data": [{"x": GOOD_X}]}, "the loader gives a dict; expected batches of tensors"),
    "three tensors": ({"data": (GOOD_X, GOOD_Y, GOOD_Y)}, "the loader gives a Tensor"),
    "arrays of objects": ({"data": (GOOD_X.numpy().astype(object), GOOD_Y.numpy())}, "an array holds object; expected"),
    "a detached output": ({"model": lambda: Wrapped(lambda z: z.detach())}, "output has no gradient with respect to"),
    "integer logits": ({"model": lambda: Wrapped(lambda z: z.long())}, "the model returns torch.int64"),
    "bf16 logits": ({"model": lambda: Wrapped(lambda z: z.bfloat16())}, "the model returns torch.bfloat16"),
    "an unknown attack": ({"attacks": ["pdg"]}, "unknown attack 'pdg'; did you mean 'pgd'"),
    "no steps": ({"pgd_steps": 0}, "pgd_steps is 0; it must be a whole number of at least 1"),
    "no restarts": ({"pgd_restarts": 0}, "pgd_restarts is 0"),
    "a limit of 0": ({"limit": 0}, "limit is 0"),
    "one output": (
        {"model": lambda: build_model("cnn", width=2, num_classes=1, mean=[0] * 3, std=[1] * 3)},
        "has 1 output",
    ),
    "no module": ({"model": lambda: lambda x: x}, "the model is of type function; it must be an nn.Module"),
    "logits without a batch for one image": ({"model": lambda: Wrapped(torch.squeeze)}, r"returns \(4,\) for 1 images"),
    "batches of two sizes": (
        {"data": [(GOOD_X, GOOD_Y), (GOOD_X[..., :4], GOOD_Y)]},
        "the loader gives images of different kinds",
    ),
    "float64 under AutoAttack": (
        {"x": GOOD_X.double(), "attacks": ["aa"], "model": lambda: build_model("cnn", width=2, num_classes=4).double()},
        "aa computes in float32, but the images are float64",
    ),
    "a surrogate of other classes": (
        {"attacks": ["transfer"], "surrogates": {"other": build_model("cnn", width=2, num_classes=5)}},
        "the surrogate other has 5 outputs, the model 4",
    ),
    "a data set of other classes": (
        {"data": Images((GOOD_X * 255).byte(), GOOD_Y, ("cat", "dog", "cow", "hen", "ant"), "0")},
        "the model has 4 outputs, the data set 5 classes",
    ),
    "a feature map": ({"model": lambda: nn.Conv2d(3, 4, 3)}, r"the model returns \(1, 4, 6, 6\) for 1 images"),
    "an empty loader": ({"data": []}, "the loader gave no batch"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_one_line_before_any_attack(case, monkeypatch):
    change, message = BAD_CALLS[case]
    monkeypatch.setattr(Runner, "run", lambda *_: pytest.fail("an attack started"))
    call = {"x": GOOD_X, "y": GOOD_Y, "eps": EPS} | change
    make = call.pop("model", lambda: build_model("cnn", width=2, num_classes=4))
    data = call.pop("data", (call.pop("x"), call.pop("y")))
    with pytest.raises(InputError, match=message) as caught:
        fastbat.evaluate(make(), data, **call)
    assert "\n" not in str(caught.value)


def test_clean_accuracy_needs_no_budget_and_has_none_in_its_record():
    model, x, y = trained_cnn()
    record = fastbat.evaluate(model, (x[:20], y[:20]), attacks=["clean"]).record()
    assert record["sa"] == record["accuracies"][0]["percent"]
    assert not {"eps_255", "ra_pgd", "ra_aa"} & record.keys()
    with pytest.raises(InputError, match="no eps is given; name at least one budget"):
        fastbat.evaluate(model, (x[:20], y[:20]), attacks=["clean", "pgd"])


def test_the_headlines_of_a_record_are_those_of_the_first_budget():
    model, x, y = trained_cnn()
    result = fastbat.evaluate(model, (x[:30], y[:30]), eps=[0.02, 0.1], pgd_steps=2, pgd_restarts=1)
    record = result.record()
    assert (record["eps_255"], record["ra_pgd"]) == (5.1, record["accuracies"][1]["percent"])


def test_a_sentence_says_what_was_measured_on_what_and_by_what():
    model, x, y = trained_cnn()
    result = fastbat.evaluate(
        model, (x[:60], y[:60]), eps=EPS, pgd_steps=20, pgd_restarts=1, precision="float32", seed=3
    )
    said = result.said_of(target="w.pt", sha256="0123456789abcdef", dataset="digits", test_images=397).sentence()
    for accuracy in result.accuracies:
        low, high = accuracy.interval
        assert f"{accuracy.label} {accuracy.percent:.1f} % [{low:.1f}, {high:.1f}]" in said
    for part in (
        "w.pt (SHA-256 0123456789ab): ", " at Linf eps 25.5/255, on the first 60 of 397 test images of digits",
        "; no red flags; seed 3, in float32; fastbat ", f", torch {torch.__version__}"[:11],
    ):  # fmt: skip
        assert part in said
    assert result.settings["images"][:12] in said
    assert ", on 60 images (SHA-256 " in result.sentence()


def test_a_sentence_says_what_makes_a_number_less_than_it_looks():
    versions = {"fastbat": "0.1.0", "commit": None, "torch": "2.14.1", "pyautoattack": "0.2.0"}
    about = {"weights": 20 * "ab", "images": 20 * "cd", "seed": 0, "precision": "bf16", "attacks": ["clean", "aa"]}
    about |= {"aa_parts": ["apgd-ce", "square"], "versions": versions, "dataset": "mine", "test_images": 80}
    clean, aa = Accuracy("clean", "SA", 0, 60, 80, 1.0), Accuracy("aa", "RA-AA", 0.1, 8, 80, 1.0, upper_bound=True)
    flagged = Evaluation(80, (clean, aa), (RedFlag("noise", "..."), RedFlag("noise", "...")), (), about)
    assert flagged.sentence() == (
        "The model (SHA-256 abababababab): SA 75.0 % [64.5, 83.2], RA-AA at most 10.0 % [5.2, 18.5] at Linf eps "
        "25.5/255, on all 80 test images of mine (SHA-256 cdcdcdcdcdcd); RA-AA: apgd-ce, square; apgd-t, fab-t need at "
        "least 4 classes; Wilson's 95 % intervals; red flags: noise; seed 0, search in bf16, verified in float32; "
        "fastbat 0.1.0, torch 2.14.1, pyautoattack 0.2.0."
    )
    unjudged = Evaluation(80, (clean,), (), (), about | {"attacks": ["clean"]})
    assert "; Wilson's 95 % intervals; red flags not judged; seed 0, in float32; fastbat" in unjudged.sentence()


def test_a_budget_of_less_than_half_a_grey_level_is_doubted(capsys):
    model, x, y = trained_cnn()
    result = fastbat.evaluate(model, (x[:60], y[:60]), eps=0.031 / 255, pgd_steps=1, pgd_restarts=1)
    doubt = "eps is 0.031/255, less than half a grey level; was 8/255 meant?"
    assert capsys.readouterr().err == f"{doubt}\n"
    assert result.remarks()[0] == doubt
    assert tiny(0.5 / 255) is None
    assert [tiny(eps / 255).split("was ")[1] for eps in (0.03, 0.016, 0.1, 0.3)] == [
        "8/255 meant?", "4/255 meant?", "25.5/255 meant?", "76.5/255 meant?",
    ]  # fmt: skip


def test_an_evaluation_without_attacks_is_refused():
    with pytest.raises(InputError, match="no attacks are named; known: clean, noise, fgsm, pgd"):
        fastbat.evaluate(torch.nn.Flatten(), (torch.rand(2, 1, 1, 2), torch.tensor([0, 1])), eps=0.1, attacks=())


def test_images_in_any_memory_layout_and_a_budget_of_numpy_are_taken(tmp_path):
    model, x, y = trained_cnn()
    whole = fastbat.evaluate(model, (x[:20], y[:20]), eps=EPS, pgd_steps=2, pgd_restarts=1)
    strided = x[:20].permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    how = {"eps": np.float64(EPS), "pgd_steps": 2, "pgd_restarts": 1, "resume_in": str(tmp_path)}
    other = fastbat.evaluate(model, (strided, torch.stack([y, y], 1)[:20, 0]), **how)
    assert json.loads(json.dumps(other.record()))["settings"]["images"] == whole.record()["settings"]["images"]
    assert other["pgd"].hits == whole["pgd"].hits


def test_the_result_is_handed_on_before_its_blocks_are_forgotten(tmp_path):
    model, x, y = trained_cnn()
    kept = []
    how = {"eps": EPS, "pgd_steps": 2, "pgd_restarts": 1, "resume_in": tmp_path}
    result = fastbat.evaluate(
        model,
        (x[:20], y[:20]),
        **how,
        done=lambda found: kept.append((found, list(tmp_path.glob(".evaluation-*.jsonl")))),
    )
    ((found, files),) = kept
    assert found == result
    assert files
    assert not list(tmp_path.glob(".evaluation-*"))


CLAMPS = {
    "clamp": lambda x: x.clamp(0, 1),
    "relu": torch.relu,
    "of normalised pixels": lambda x: ((x - 0.3) / 0.4).clamp(-0.3 / 0.4, 0.7 / 0.4) * 0.4 + 0.3,
}


@pytest.mark.parametrize("clamp", CLAMPS)
def test_a_clamp_in_front_of_a_model_changes_nothing_that_signed_steps_find(clamp):
    model, x, y = trained_cnn()
    x, y = x[:40], y[:40]
    assert ((x == 0) | (x == 1)).float().mean() > 0.3
    bare, clamped = (
        each_attack(each, x, y, ("fgsm", "pgd", "transfer")) for each in (model, Before(CLAMPS[clamp], model))
    )
    assert max(abs(bare[name] - clamped[name]) for name in bare) <= 1
    assert bare["clean"] - bare["pgd"] > 5


def test_a_clamp_in_front_of_a_model_changes_nothing_that_autoattack_finds(short_autoattack):
    model, x, y = trained_cnn(classes=4)
    x, y = x[:20], y[:20]
    parts = ("apgd-ce", "apgd-t", "fab-t", "square")
    both = (model, Before(CLAMPS["clamp"], model))
    bare, clamped = (each_attack(each, x, y, parts, eps=2 * EPS) for each in both)
    assert max(abs(bare[name] - clamped[name]) for name in bare) <= 1
    assert bare["clean"] > bare["apgd-t"]


def each_attack(model, x, y, attacks, eps=EPS / 2):
    """The images that each of these attacks leaves."""
    how = {"eps": eps, "pgd_steps": 10, "pgd_restarts": 1, "precision": "float32"}
    surrogates = {"same": model} if "transfer" in attacks else {}
    result = fastbat.evaluate(model, (x, y), attacks=("clean", *attacks), surrogates=surrogates, **how)
    return {accuracy.attack: accuracy.hits for accuracy in result.accuracies}


class Before(nn.Module):
    """`model` behind a function of its images."""

    def __init__(self, function, model):
        super().__init__()
        self.function, self.model = function, model

    def forward(self, x):
        return self.model(self.function(x))


def test_pixels_at_the_border_are_a_hair_inside_with_their_gradient_and_others_stay():
    x = torch.tensor([0.0, 1e-4, 0.3, 1.0], requires_grad=True)
    moved = inside(x)
    assert torch.equal(moved[1:3], x[1:3])
    assert 0 < moved[0] < 1e-5
    assert 0 < 1 - moved[3] < 1e-5
    moved.clamp(0, 1).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1]


class Strict(nn.Module):
    """A model that refuses what is no image."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        if x.min() < 0 or x.max() > 1:
            raise ValueError(f"images in [{x.min():.9g}, {x.max():.9g}]")
        return self.model(x)


def test_no_model_is_given_a_pixel_outside_0_and_1():
    model, x, y = trained_cnn()
    attacks = ("clean", "noise", "fgsm", "pgd")
    result = fastbat.evaluate(Strict(model), (x[:100], y[:100]), eps=0.3, attacks=attacks, pgd_restarts=2)
    assert result.n == 100


def test_square_goes_on_where_two_logits_tie():
    margin = torch.tensor([-1.0, 0.0, 2.0])
    found, _ = without_ties(lambda x, y: (margin, margin), margin, margin)
    assert (found > 0).tolist() == [False, True, True]
    assert torch.equal(found[[0, 2]], margin[[0, 2]])


class Root(nn.Module):
    """Two logits, the roots of two pixels; the first is weighed by 0, so that its slope at 0 is no number."""

    def forward(self, x):
        return x.sqrt().flatten(1) * torch.tensor([0.0, 1.0])


def test_a_pixel_whose_gradient_is_no_number_stays_where_it_is():
    x, start = torch.tensor([0.0, 0.5]).view(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    delta = pgd(Root(), x, torch.tensor([0]), start, eps=0.2, steps=3, step=0.05)
    assert torch.allclose(delta.flatten(), torch.tensor([0.0, 0.15]))


def test_a_model_that_bf16_does_not_fit_is_searched_in_its_own_precision(monkeypatch):
    class Refuses(nn.Module):
        def forward(self, x):
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("expected float32")
            return x.flatten(1)

    monkeypatch.setattr("fastbat.evaluation.search.has_bf16", lambda device: True)
    x, y = torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 2, 3])
    how = {"eps": EPS, "attacks": ["fgsm"]}
    assert fastbat.evaluate(Refuses(), (x, y), **how).settings["precision"] == "float32"
    with pytest.raises(InputError, match="the model does not run under bf16 autocast; say float32"):
        fastbat.evaluate(Refuses(), (x, y), precision="bf16", **how)
    assert fastbat.evaluate(nn.Flatten(), (x, y), **how).settings["precision"] == "bf16"


def test_square_compares_losses_in_the_models_own_precision(monkeypatch, short_autoattack):
    model, x, y = trained_cnn()
    monkeypatch.setattr("fastbat.evaluation.search.check_fit", lambda *_: (10, True))
    monkeypatch.setattr(Autocast, "forward", lambda *_: pytest.fail("a pass in bf16"))
    how = {"eps": EPS, "attacks": ["square"], "limit": 40}  # too few for the red flags' own attacks
    own, low = (fastbat.evaluate(model, (x, y), precision=p, **how) for p in ("float32", "bf16"))
    assert own["square"].hits == low["square"].hits < own["clean"].hits
    assert low.settings["precision"] == "bf16"


def test_a_loader_under_inference_mode_and_an_exported_module_are_taken():
    model, x, y = trained_cnn()
    with torch.inference_mode():
        loader = [(x[:10] + 0, y[:10]), (x[10:20] + 0, y[10:20])]
        assert fastbat.evaluate(model, loader, eps=EPS, attacks=["fgsm"]).n == 20
    batch = torch.export.Dim("batch", min=1, max=99)
    exported = torch.export.export(model.eval(), (x[:4],), dynamic_shapes=({0: batch},)).module()
    assert fastbat.evaluate(exported, (x[:20], y[:20]), eps=EPS, attacks=["fgsm"]).n == 20


def test_a_model_without_gradients_has_no_alignment():
    assert (
        gradient_alignment(nn.Sequential(nn.Flatten(), Rounded()), torch.rand(4, 1, 2, 2), torch.arange(4), EPS) is None
    )


class Rounded(nn.Module):
    """Steps: the gradient is zero everywhere."""

    def forward(self, x):
        return x.round()


@given(eps=st.floats(), steps=st.integers(-2, 2), seed=st.integers(-(2**64), 2**64))
def test_a_request_is_taken_or_refused_in_one_line(eps, steps, seed):
    sound = TOLERANCE < eps <= 1 and steps >= 1 and 0 <= seed < 2**63
    with nullcontext() if sound else pytest.raises(InputError, match=r"\A.+\Z"):  # . is no line break
        assert (budgets_of(eps), whole("pgd_steps", steps), check_seed(seed)) == ((eps,), steps, seed)


@given(value=st.floats(width=32), shape=st.lists(st.integers(0, 3), min_size=1, max_size=5), label=st.integers(-9, 9))
def test_images_are_taken_or_refused_in_one_line(value, shape, label):
    x, y = torch.full(shape, value), torch.full(shape[:1], label)
    sound = len(shape) == 4 and math.prod(shape) > 0 and -ROUNDING <= value <= 1 + ROUNDING
    with nullcontext() if sound else pytest.raises(InputError, match=r"\A.+\Z"):
        gather((x, y), None)
