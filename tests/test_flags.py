"""Red flags: models that hide their gradients are found out, honest ones are not accused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fastbat
from conftest import trained_cnn
from fastbat import METHODS, Batch, build_model
from fastbat.data import load
from fastbat.evaluation.flags import MIN_IMAGES, Evidence, _beats, red_flags
from fastbat.evaluation.probe import gradient_sizes

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
    result = fastbat.evaluate(Masked(model, **how), (x[:250], y[:250]), eps=EPS, pgd_steps=10, pgd_restarts=1)
    names = {flag.name for flag in result.red_flags}
    assert expected <= names
    assert result.record()["red_flags"][0]["text"]
    assert any(remark.startswith("RED FLAG") for remark in result.remarks())


def test_a_masked_model_shows_under_autoattack_too():
    model, x, y = trained_cnn()
    masked = Masked(model, after=lambda z: 1e4 * z)
    result = fastbat.evaluate(masked, (x[:60], y[:60]), eps=2 * EPS, attacks=["pgd", "apgd-t"], pgd_restarts=1)
    assert result["apgd-t"].hits < result["pgd"].hits
    full = fastbat.evaluate(masked, (x[:60], y[:60]), eps=2 * EPS, attacks=["pgd", "aa"], pgd_restarts=1)
    assert "autoattack" in {flag.name for flag in full.red_flags}


@pytest.mark.parametrize("name", ["standard", "fast-at", "pgd-7"])
def test_honest_models_are_not_flagged(name):
    model = build_model("cnn", width=8, mean=[0.3], std=[0.4])
    x, y = load("digits").train.tensors()
    method, optimizer = METHODS[name](eps=EPS), torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        for loss in method.losses(model, Batch(x, y)):
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    result = fastbat.evaluate(model, (x[:100], y[:100]), eps=EPS, attacks=["clean", "pgd", "square"], pgd_restarts=3)
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


def evidence(n=100, **broken):
    """Evidence in which PGD breaks 40 of 100 images, noise none, unless said otherwise."""
    counts = {"noise": 0, "fgsm": 20, "pgd": 40, "pgd_margin": 44, "square": 10, "large-eps": n} | broken
    masks = {name.replace("_", "-"): torch.arange(n) < count for name, count in counts.items()}
    return Evidence(n, masks, 64 / 255, torch.ones(n))


def test_each_flag_is_raised_by_its_own_evidence_alone():
    assert red_flags(evidence()) == ((), ())
    cases = {
        "one-step": evidence(fgsm=60),
        "black-box": evidence(square=60),
        "margin": evidence(pgd_margin=60),
        "noise": evidence(noise=45),
        "large-eps": evidence(**{"large-eps": 80}),
        "autoattack": evidence(aa=60),
    }
    for name, seen in cases.items():
        (flag,), _ = red_flags(seen)
        assert flag.name == name
        assert flag.figures["n"] == 100
    (transfer,), _ = red_flags(evidence(**{"transfer-other": 60}))
    assert transfer.name == "black-box"
    assert "transfer-other breaks more than PGD on cross-entropy and on the margin: 16 images" in transfer.text


def test_a_difference_that_chance_explains_is_no_flag():
    one, other = torch.arange(100) < 43, torch.arange(100) < 40
    assert not _beats("black-box", "", one, other)  # 3 to 0: 3 images may be chance
    assert _beats("black-box", "", torch.arange(100) < 50, other)
    assert not _beats("black-box", "", torch.arange(10_000) < 4_050, torch.arange(10_000) < 4_000)  # half a percent
    assert red_flags(evidence(aa=50)) == ((), ())  # AutoAttack 10 points below PGD happens to honest models
    assert red_flags(evidence(**{"large-eps": 96})) == ((), ())


def test_the_margin_has_a_gradient_where_cross_entropy_has_none():
    model, x, y = trained_cnn()
    steep = Masked(model, after=lambda z: 1e4 * z)
    x, y = x[:20], steep(x[:20]).argmax(1)
    at = x.clone().requires_grad_()
    F.cross_entropy(steep(at), y).backward()
    assert (at.grad.flatten(1) == 0).all(1).any()
    assert (gradient_sizes(steep, x, y) > 0).all()
    assert (gradient_sizes(Masked(model, after=lambda z: z.round()), x, y) == 0).all()


def test_the_mean_of_passes_is_climbed_for_a_random_model():
    model, x, y = trained_cnn()
    calls = []
    noisy = Masked(model, before=lambda x: calls.append(len(x)) or x + 0.1 * torch.randn_like(x))
    once, often = (
        fastbat.evaluate(noisy, (x[:60], y[:60]), eps=EPS, pgd_steps=10, pgd_restarts=1, eot=eot) for eot in (1, 8)
    )
    assert often.ra_pgd.hits <= once.ra_pgd.hits
    assert often.settings["eot"] == 8
    again = fastbat.evaluate(noisy, (x[:60], y[:60]), eps=EPS, pgd_steps=10, pgd_restarts=1, eot=8)
    assert again.ra_pgd.hits == often.ra_pgd.hits  # the seed covers the model's own draws
