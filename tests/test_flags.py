"""Red flags: models that hide their gradients are found out, honest ones are not accused."""

import re
from copy import deepcopy

import pytest
import torch
from pyautoattack.square import SquareAttack
from torch import nn
from torch.nn import functional as F

import fastbat
from conftest import trained_cnn
from fastbat import METHODS, Batch, build_model
from fastbat.data import load
from fastbat.evaluation.attacked import AttackedModel
from fastbat.evaluation.border import border_gradients
from fastbat.evaluation.flags import MIN_IMAGES, Attacked, of_attacks, of_border, of_large_budget, of_what_is_left
from fastbat.evaluation.probe import gradient_sizes
from fastbat.evaluation.search import Search

EPS = 0.1


class Masked(nn.Module):
    """A network behind and before functions that hide its gradients."""

    def __init__(self, network, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, x):
        return self.after(self.network(self.before(x)))


MASKS = {
    "quantised input": ({"before": lambda x: (4 * x).round() / 4}, {"zero-gradients", "black-box"}),
    "logits times 1e4": ({"after": lambda z: 1e4 * z}, {"margin", "large-eps"}),
    "one-hot outputs": ({"after": lambda z: F.one_hot(z.argmax(1), 10) + 0 * z}, {"zero-gradients", "probabilities"}),
    "a stochastic layer": ({"before": lambda x: x + 0.1 * torch.randn_like(x)}, {"stochastic"}),
    "probabilities": ({"after": lambda z: (30 * z).softmax(1)}, {"probabilities"}),
}


@pytest.mark.parametrize("kind", MASKS)
def test_models_that_hide_their_gradients_are_flagged(kind):
    how, expected = MASKS[kind]
    model, x, y = trained_cnn()
    result = fastbat.evaluate(Masked(model, **how), (x[:80], y[:80]), eps=EPS, pgd_steps=10, pgd_restarts=1)
    names = {flag.name for flag in result.red_flags}
    assert expected <= names
    assert result.record()["red_flags"][0]["text"]
    assert any(remark.startswith("RED FLAG") for remark in result.remarks())


def test_a_masked_model_shows_under_autoattack_too():
    model, x, y = trained_cnn()
    masked = Masked(model, after=lambda z: 1e4 * z)
    result = fastbat.evaluate(masked, (x[:60], y[:60]), eps=2 * EPS, attacks=["pgd", "apgd-t", "aa"], pgd_restarts=1)
    assert result["apgd-t"].hits < result["pgd"].hits
    said = [flag.text.split(" breaks ")[0] for flag in result.red_flags if flag.name == "autoattack"]
    assert said == ["at eps 51/255 apgd-t", "at eps 51/255 aa"]


def cnn():
    return build_model("cnn", width=8, mean=[0.3], std=[0.4])


def layers():
    """Two layers, whose passes take a tenth of the time: for Square at its full length."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


HONEST = [("standard", 500, cnn), ("fast-at", 500, cnn), ("pgd-7", 500, cnn), ("pgd-7", 5000, layers)]


@pytest.mark.parametrize(("name", "queries", "network"), HONEST)
def test_honest_models_are_not_flagged(name, queries, network, monkeypatch):
    if queries < 5000:
        monkeypatch.setattr(SquareAttack, "n_queries", property(lambda _: queries, lambda *_: None), raising=False)
    model = network()
    x, y = load("digits").train.tensors()
    method, optimizer = METHODS[name](eps=EPS), torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        for loss in method.losses(model, Batch(x[:200], y[:200])):
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    result = fastbat.evaluate(model, (x[:60], y[:60]), eps=EPS, attacks=["clean", "pgd", "square"], pgd_restarts=3)
    assert result.red_flags == ()
    assert result.not_judged == ()
    assert result.remarks() == ["No red flags."]
    assert result.record()["red_flags"] == []


def test_too_few_images_are_not_judged():
    model, x, y = trained_cnn()
    result = fastbat.evaluate(model, (x[:30], y[:30]), eps=EPS, pgd_steps=2, pgd_restarts=1)
    assert result.red_flags == ()
    assert result.not_judged == (f"too few: 30 images classified correctly; attacks are compared on {MIN_IMAGES}",)


def test_clean_alone_claims_nothing_and_is_not_judged():
    model, x, y = trained_cnn()
    result = fastbat.evaluate(model, (x[:60], y[:60]), eps=EPS, attacks=["clean"])
    assert (result.red_flags, result.not_judged, result.remarks()) == ((), (), [])


def attacked(n=100, **broken):
    """Attacks in which PGD breaks 40 of 100 images, noise none, unless said otherwise."""
    counts = {"noise": 0, "fgsm": 20, "pgd": 40, "pgd_margin": 44, "square": 10} | broken
    masks = {name.replace("_", "-"): torch.arange(n) < count for name, count in counts.items()}
    return Attacked(8 / 255, torch.ones(n, dtype=torch.bool), masks)


def test_each_flag_is_raised_by_its_own_evidence_alone():
    assert of_attacks(attacked()) == []
    cases = {
        "one-step": attacked(fgsm=60),
        "black-box": attacked(square=60),
        "noise": attacked(noise=45),
        "margin": attacked(pgd_margin=60),
        "autoattack": attacked(aa=60),
    }
    for name, seen in cases.items():
        (flag,) = of_attacks(seen)
        assert flag.name == name
        assert flag.figures["n"] == 100
        assert flag.text.startswith("at eps 8/255 ")
    (part,) = of_attacks(attacked(apgd_t=60))
    assert part.name == "autoattack"
    (transfer,) = of_attacks(attacked(**{"transfer-other": 60}))
    assert transfer.name == "black-box"
    assert "transfer-other breaks more than PGD on cross-entropy and on the margin: 16 images" in transfer.text


def test_robustness_at_a_large_budget_is_a_flag_where_square_refutes_it():
    (flag,) = of_large_budget(attacked(pgd=20, square=60))
    assert flag.name == "large-eps"
    assert "80 of 100 images withstand PGD" in flag.text
    assert of_large_budget(attacked(pgd=20, square=20)) == []  # a model that is robust there, or hides it from both
    assert of_large_budget(attacked(pgd=100, square=100)) == []


def test_a_difference_that_chance_explains_is_no_flag():
    assert of_attacks(attacked(square=47)) == []  # 3 to 0: 3 images may be chance
    assert of_attacks(attacked(square=54)) != []
    many = attacked(10_000, pgd=4_000, pgd_margin=4_000, square=4_050)
    assert of_attacks(many) == []  # beyond chance, but half a percent
    assert of_attacks(attacked(aa=50)) == []  # AutoAttack 10 points below PGD happens to honest models


def test_the_allowance_for_autoattack_is_ten_points_of_all_images():
    i = torch.arange(1000)  # FAST-BAT at eps 16/255: SA 55.9, RA-PGD 22.3, RA-AA 15.2
    counts = {"noise": 10, "fgsm": 250, "pgd": 336, "pgd-margin": 370, "square": 200}
    broken = {name: i < count for name, count in counts.items()}
    assert of_attacks(Attacked(16 / 255, i < 559, broken | {"aa": i < 407})) == []
    (flag,) = of_attacks(Attacked(16 / 255, i < 559, broken | {"aa": i < 460}))
    assert "aa breaks 124 images that PGD on cross-entropy does not, of all 1000 (allowed: 10%)" in flag.text


def test_noise_accuses_nobody_where_pgd_breaks_everything():
    everything = {"fgsm": 100, "pgd_margin": 100, "square": 100}
    assert of_attacks(attacked(noise=97, pgd=100, **everything)) == []
    assert "noise" in {flag.name for flag in of_attacks(attacked(noise=90, pgd=90, **everything))}


def test_attacks_that_saw_more_images_are_compared_on_all_that_both_saw():
    clean = torch.arange(400) % 2 == 0
    broken = {"pgd": torch.zeros(400, dtype=torch.bool), "aa": torch.arange(400) >= 200}
    few = {name: torch.zeros(200, dtype=torch.bool) for name in ("noise", "fgsm", "pgd-margin", "square")}
    (flag,) = of_attacks(Attacked(0.1, clean, broken | few))
    assert (flag.name, flag.figures["hits"], flag.figures["n"]) == ("autoattack", 100, 400)


def test_a_weak_attack_that_was_asked_for_accuses_nobody():
    model, x, y = trained_cnn()
    result = fastbat.evaluate(model, (x[:60], y[:60]), eps=EPS, pgd_steps=1, pgd_restarts=1)
    assert result.red_flags == ()


def test_a_weak_pgd_accuses_nobody_beyond_the_images_of_the_probes():
    model, x, y = trained_cnn()
    settings = {"eps": EPS, "attacks": ["fgsm", "pgd"], "pgd_steps": 1, "pgd_restarts": 1}
    assert fastbat.evaluate(model, (x[:1000], y[:1000]), **settings).red_flags == ()


def test_a_model_robust_at_a_large_budget_is_not_accused():
    class Half(nn.Module):
        """Class 1 where the mean of the image exceeds 1/2."""

        def forward(self, x):
            score = x.flatten(1).mean(1) - 0.5
            return torch.stack([-score, score], 1)

    x = torch.cat([torch.zeros(60, 1, 4, 4), torch.ones(60, 1, 4, 4)])  # robust to 1/2, which is above 64/255
    result = fastbat.evaluate(Half(), (x, (x[:, 0, 0, 0] > 0.5).long()), eps=8 / 255, pgd_steps=5, pgd_restarts=1)
    assert result.ra_pgd.hits == 120
    assert result.red_flags == ()


def test_every_budget_of_a_curve_is_judged():
    model, x, y = trained_cnn()
    masked = Masked(model, after=lambda z: 1e4 * z)
    alone, curve = (
        fastbat.evaluate(masked, (x[:60], y[:60]), eps=eps, pgd_steps=5, pgd_restarts=1) for eps in (EPS, [EPS, 0.5])
    )
    assert alone.red_flags
    assert {flag.text for flag in alone.red_flags} <= {flag.text for flag in curve.red_flags}


def test_the_margin_has_a_gradient_where_cross_entropy_has_none():
    model, x, y = trained_cnn()
    steep = Masked(model, after=lambda z: 1e4 * z)
    x, y = x[:20], steep(x[:20]).argmax(1)
    at = x.clone().requires_grad_()
    F.cross_entropy(steep(at), y).backward()
    assert (at.grad.flatten(1) == 0).all(1).any()
    assert (gradient_sizes(steep, x, y) > 0).all()
    assert (gradient_sizes(Masked(model, after=lambda z: z.round()), x, y) == 0).all()


class Counting(nn.Module):
    """Logits that grow with every pass."""

    passes = 0

    def forward(self, x):
        self.passes += 1
        return self.passes * x.flatten(1)


def test_a_search_climbs_the_mean_of_its_passes():
    model, x = Counting(), torch.rand(2, 1, 1, 3)
    assert torch.allclose(Search(model, bf16=False, passes=3)(x), 2 * x.flatten(1))
    assert model.passes == 3


def test_the_mean_of_passes_is_climbed_for_a_random_model():
    model, x, y = trained_cnn()
    calls = []
    noisy = Masked(model, before=lambda x: calls.append(len(x)) or x + 0.1 * torch.randn_like(x))
    once, often = (
        fastbat.evaluate(noisy, (x[:40], y[:40]), eps=EPS, pgd_steps=10, pgd_restarts=1, eot=eot) for eot in (1, 4)
    )
    assert often.ra_pgd.hits <= once.ra_pgd.hits
    assert often.settings["eot"] == 4
    again = fastbat.evaluate(noisy, (x[:40], y[:40]), eps=EPS, pgd_steps=10, pgd_restarts=1, eot=4)
    assert again.ra_pgd.hits == often.ra_pgd.hits  # the seed covers the model's own draws


def test_what_withstands_a_large_budget_is_said_to():
    assert of_what_is_left(attacked(pgd=95, square=90)) == ()
    (said,) = of_what_is_left(attacked(pgd=20, square=20))
    assert "80 of 100 images withstand PGD-20 and Square" in said


# What the outputs say


def flags_of(model, x, y, **how):
    settings = {"eps": EPS, "pgd_steps": 3, "pgd_restarts": 1, "precision": "float32"} | how
    return {flag.name: flag for flag in fastbat.evaluate(model, (x, y), **settings).red_flags}


BORDERS = {
    "clamp": (lambda x: x.clamp(0, 1), "attacks are given them a hair inside, where it is"),
    "relu": (torch.relu, "attacks are given them a hair inside, where it is"),
    "a wide clamp": (lambda x: x.clamp(0.002, 0.998), "attacks have none there either"),
}


def skip_if_clamp_keeps_gradients():
    """Skip where torch's clamp has a gradient at its ends: before 2.13."""
    at = torch.zeros(1, requires_grad=True)
    at.clamp(0, 1).sum().backward()
    if at.grad.item():
        pytest.skip(f"the clamp of torch {torch.__version__} has a gradient at its ends")


@pytest.fixture(scope="module")
def honest_flags():
    """The names of the flags of an honest network."""
    model, x, y = trained_cnn()
    return flags_of(model, x[:60], y[:60]).keys()


@pytest.mark.parametrize("kind", BORDERS)
def test_gradients_lost_at_0_and_1_are_flagged(kind, honest_flags):
    if kind == "clamp":
        skip_if_clamp_keeps_gradients()
    before, told = BORDERS[kind]
    model, x, y = trained_cnn()
    x, y = x[:60], y[:60]
    assert "border-gradients" not in honest_flags
    flag = flags_of(Masked(model, before=before), x, y)["border-gradients"]
    assert flag.figures["hits"] == flag.figures["n"] == 60
    assert flag.figures["inside"] == flag.figures["others"] == 0 < flag.figures["without"]
    assert told in flag.text


def test_honest_networks_lose_no_gradient_at_0_and_1():
    x, y = load("digits").train.slice(0, 100).tensors()
    for name, width in (("cnn", 8), ("preactresnet18", 2), ("wideresnet-16-8", 1)):
        for activation in ("relu", "softplus", "swish"):
            model = build_model(name, width=width, activation=activation, mean=[0.3], std=[0.4]).eval()
            found = border_gradients(AttackedModel.of(model), x, y, EPS)
            assert len(found.lost) == 100
            assert not found.lost.any()


class OfTheBatch(nn.Module):
    """A network with BatchNorm that keeps no running statistics."""

    def __init__(self, network):
        super().__init__()
        self.norm, self.network = nn.BatchNorm2d(1, affine=False, track_running_stats=False), network

    def forward(self, x):
        return self.network(0.3 + 0.4 * self.norm(x))


@pytest.mark.parametrize("attacks", [["clean"], ["clean", "pgd"]])
def test_a_model_whose_answer_depends_on_the_batch_is_flagged(attacks):
    model, x, y = trained_cnn()
    flag = flags_of(OfTheBatch(model), x[:60], y[:60], attacks=attacks)["batch-dependent"]
    assert "all accuracies depend on the batch" in flag.text
    assert flag.figures["difference"] > 0.01
    assert "batch-dependent" not in flags_of(model, x[:60], y[:60], attacks=attacks)


def poisoned(model, value):
    """`model` with one weight of its first layer replaced."""
    model = deepcopy(model)
    with torch.no_grad():
        model.network[0].weight[0, 0, 0, 0] = value
    return model


def some(z):
    """Logits of which those of every fourth image are no numbers."""
    return z + torch.where(torch.arange(len(z)) % 4 == 0, torch.nan, 0.0)[:, None]


NOT_FINITE = {
    "a weight": (
        lambda model: poisoned(model, torch.nan), 80,
        "first in the output of network.0 (Conv2d), whose weight is not finite",
    ),
    "a weight that overflows": (lambda model: poisoned(model, 3e38), None, "first in the output of "),
    "one infinite logit": (
        lambda model: Masked(model, after=lambda z: z + torch.tensor([torch.inf, *9 * [0.0]])), 80,
        "first in the output of the network (Masked)",
    ),
    "some images": (lambda model: Masked(model, after=some), 20, "first in the output of the network (Masked)"),
}  # fmt: skip


@pytest.mark.parametrize("attacks", [["clean"], ["clean", "pgd"]])
@pytest.mark.parametrize("kind", NOT_FINITE)
def test_logits_that_are_no_numbers_are_counted_and_their_layer_is_named(kind, attacks):
    change, hits, where = NOT_FINITE[kind]
    model, x, y = trained_cnn()
    flags = flags_of(change(model), x[:80], y[:80], attacks=attacks, batch_size=40)
    flag = flags.pop("not-finite")
    assert hits is None or flag.figures["hits"] == hits
    assert f"on {flag.figures['hits']} of 80 images, which count as misclassified; {where}" in flag.text
    assert not flags or kind == "some images"


class Clamp(nn.Module):
    """A clamp of the input."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.ends = low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(*self.ends)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.01, 0.99), (0.03, 0.97)])
def test_a_clamp_that_reaches_further_than_a_grey_level_is_flagged_too(ends):
    if ends == (0.0, 1.0):
        skip_if_clamp_keeps_gradients()
    x, y = load("digits").train.slice(0, 100).tensors()
    model = build_model("cnn", width=8, mean=[0.3], std=[0.4]).eval()
    clamped = nn.Sequential(Clamp(*ends), model)
    assert of_border(border_gradients(AttackedModel.of(clamped), x, y, EPS))
    assert not of_border(border_gradients(AttackedModel.of(model), x, y, EPS))


def test_progress_says_when_it_is_the_red_flags_that_attack(monkeypatch, capsys):
    monkeypatch.setattr("fastbat.progress.SECONDS_BETWEEN_LINES", -1)  # every line, not one a minute
    model, x, y = trained_cnn()
    how = {"eps": 20 / 255, "attacks": "clean,pgd", "pgd_steps": 2, "pgd_restarts": 1, "batch_size": 40}
    fastbat.evaluate(model, (x[:80], y[:80]), **how)
    lines = capsys.readouterr().err.splitlines()
    phases = dict.fromkeys(line.split(",")[0] for line in lines if "eps" in line)
    own = [f"red flags: {attack}" for attack in ("noise", "fgsm", "pgd", "pgd-margin", "square")]
    assert list(phases) == ["pgd", *own]
    assert re.fullmatch(r"clean: \d+ of 40 correct so far, 50% done", lines[1])
    assert any(re.fullmatch(r"pgd, eps 20/255: \d+ of 40 robust so far; round 1 of 1 on .*", line) for line in lines)
    assert any(line.startswith("red flags: square, eps 80/255") for line in lines)
