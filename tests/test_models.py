"""Networks: the published sizes, the normalisation inside, activations that are what they are called."""

import pytest
import torch
from torch.nn import functional as F

from fastbat.errors import InputError
from fastbat.models import MODELS, build_model
from fastbat.models.activation import ACTIVATIONS
from fastbat.randomness import generator, seed_torch, uniform_starts


def weights(model):
    return sum(p.numel() for p in model.parameters())


def test_preactresnet18_has_the_published_number_of_weights():
    # 11,171,146 in the widely used implementation, without BatchNorm after the last stage; FAST-AT's has it: + 2 x 512
    assert weights(build_model("preactresnet18", num_classes=10)) == 11_171_146 + 1024
    assert weights(build_model("preactresnet18", num_classes=100)) == 11_171_146 + 1024 + 90 * 513


def test_preactresnet18_halves_its_feature_maps_three_times():
    model = build_model("preactresnet18", width=4)
    shapes = []
    for stage in model.network.stages:
        stage.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert shapes == [(4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_network_takes_colour_and_grey_images_of_any_size(name, activation):
    for channels, size in ((1, 8), (3, 32), (3, 37)):
        mean = [0.5] * channels
        model = build_model(name, num_classes=7, width=3, activation=activation, mean=mean, std=mean)
        assert model(torch.rand(2, channels, size, size)).shape == (2, 7)


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
        ({"name": "preactresnet"}, "unknown model 'preactresnet'; did you mean 'preactresnet18'"),
        ({"name": "cnn", "activation": "gelu"}, "unknown activation 'gelu'"),
        ({"name": "cnn", "num_classes": 0}, "num_classes is 0; a network needs at least 1"),
    ],
)
def test_a_network_that_cannot_be_built_is_an_input_error(arguments, message):
    with pytest.raises(InputError, match=message):
        build_model(**arguments)


def test_random_numbers_depend_on_their_key_alone():
    assert generator(0, "a", 3).random() == generator(0, "a", 3).random()
    draws = {generator(*key).random() for key in ((0, "a", 3), (0, "b", 3), (1, "a", 3), (0, "a", 4))}
    assert len(draws) == 4
    seed_torch(5, "step", 1)
    first = torch.rand(3)
    torch.rand(100)
    seed_torch(5, "step", 1)
    assert torch.equal(torch.rand(3), first)


def test_a_starting_point_belongs_to_its_image_whatever_the_batch():
    x = torch.zeros(6, 3, 5, 5)
    whole = uniform_starts(x, torch.arange(6), 0, "pgd", 2)
    part = uniform_starts(x[[4, 1]], torch.tensor([4, 1]), 0, "pgd", 2)
    assert torch.equal(part, whole[[4, 1]])
    assert F.mse_loss(whole[0], whole[1]) > 0.05
    assert 0 <= whole.min() < whole.max() < 1
