"""What a batch must be: checked when it is made, so in every loop and for every method."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastbat import METHODS, Batch, InputError
from fastbat.data import Loader, load
from test_methods import EPS, method_of, model_of, update

torch.manual_seed(0)
X, Y = torch.rand(6, 3, 16, 16), torch.arange(6) % 4
X[0, 0, 0, :2] = torch.tensor([0.0, 1.0])

WRONG = {
    "normalised by the loader": (
        X / 0.25 - 2,
        Y,
        r"images lie in \[-2, 2\]; .*: normalise inside the model, not in the",
    ),
    "from -1 to 1": (2 * X - 1, Y, r"images lie in \[-1, 1\]; they must lie in \[0, 1\]: normalise inside the model"),
    "0 to 255": (255 * X, Y, r"images lie in \[0, 255\]; they must lie in \[0, 1\]: divide them by 255"),
    "16 bits": (65535 * X, Y, r"images lie in \[0, 65535\]; they must lie in \[0, 1\]: divide them by 65535"),
    "counts": (1e6 * X, Y, r"images lie in \[0, 1000000\]; .*: divide them by their largest value"),
    "resized with overshoot": (1.04 * X - 0.02, Y, r"images lie in \[-0.02, 1.02\]; .*: clamp them, x.clamp\(0, 1\)"),
    "more than rounding": (X * 1.00002, Y, r"images lie in \[0, 1.00002\]; .*: clamp them"),
    "NaN": (torch.where(X == 1, torch.nan, X), Y, "pixels that are not finite; fix or drop these images"),
    "infinity": (torch.where(X == 1, -torch.inf, X), Y, "pixels that are not finite"),
    "bytes": ((255 * X).byte(), Y, r"images are torch.uint8; give float32 in \[0, 1\] \(bytes: x / 255"),
    "half precision": (X.half(), Y, r"images are torch.float16; .*half precision: x.float\(\)"),
    "bfloat16": (X.bfloat16(), Y, r"images are torch.bfloat16"),
    "complex": (X + 0j, Y, r"images are torch.complex64"),
    "numpy": (X.numpy(), Y, "images are a ndarray; give a tensor"),
    "a list of labels": (X, Y.tolist(), "labels are a list; give a tensor"),
    "one image": (X[0], Y[0], r"images of shape \(3, 16, 16\), labels \(\); expected \(B, C, H, W\) and \(B,\)"),
    "no channels": (X[:, 0], Y, r"images of shape \(6, 16, 16\), labels \(6,\); expected \(B, C, H, W\)"),
    "labels (B, 1)": (X, Y[:, None], r"labels \(6, 1\); expected .* and \(B,\)"),
    "one-hot": (X, torch.eye(6), r"labels \(6, 6\); expected"),
    "fewer labels": (X, Y[:3], r"labels \(3,\); expected"),
    "swapped": (Y, X, r"images of shape \(6,\), labels \(6, 3, 16, 16\); expected"),
    "int32": (X, Y.int(), "labels are torch.int32; give class numbers, int64"),
    "bytes of labels": (X, Y.byte(), "labels are torch.uint8; give class numbers"),
    "fractions": (X, Y.float(), "labels are torch.float32; give class numbers"),
    "below 0": (X, Y - 1, "the lowest label is -1; labels are class numbers from 0"),
    "none": (X[:0], Y[:0], r"images of shape \(0, 3, 16, 16\) hold no pixel; leave empty batches out"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_batch_that_no_method_trains_on_is_refused_in_one_line(kind):
    x, y, message = WRONG[kind]
    with pytest.raises(InputError, match=message) as caught:
        Batch(x, y)
    assert "\n" not in str(caught.value)


class Mine:
    """A method that somebody else wrote: no box, no attack."""

    def losses(self, model, batch):
        yield nn.functional.cross_entropy(model(batch.x), batch.y)


def loop(method, model, loader):
    for x, y in loader:
        for loss in method.losses(model, Batch(x, y)):
            loss.backward()


@pytest.mark.parametrize("name", [*METHODS, "mine"])
def test_the_loop_of_the_readme_stops_at_its_first_batch(name):
    """On images that the loader has normalised, before a gradient is there."""
    method = Mine() if name == "mine" else METHODS[name](eps=EPS)
    model, loader = model_of("preactresnet18"), iter([((X - 0.5) / 0.25, Y)] * 3)
    with pytest.raises(InputError, match="normalise inside the model, not in the loader"):
        loop(method, model, loader)
    assert len(list(loader)) == 2
    assert all(weight.grad is None for weight in model.parameters())


NEAR = [0.0, 1.0, 0.3, -1e-5, -9e-6, 1 + 9e-6, 1 + 1.1e-5, -1.1e-5, 1.01, -0.01, 2.0, 255.0, np.nan, np.inf, -np.inf]


@given(st.lists(st.sampled_from(NEAR) | st.floats(0, 1), min_size=4, max_size=4), st.sampled_from(["f4", "f8"]))
def test_images_are_taken_if_and_only_if_they_lie_in_the_range_to_rounding(pixels, kind):
    pixels = np.array(pixels).astype(kind).reshape(2, 1, 1, 2)
    right = bool(np.isfinite(pixels).all() and pixels.min() >= -1e-5 and pixels.astype("f8").max() <= 1 + 1e-5)
    try:
        Batch(torch.from_numpy(pixels), torch.zeros(2, dtype=torch.int64))
    except InputError:
        assert not right
    else:
        assert right


@pytest.mark.parametrize(
    "x", [X, X * 1.0000005, X - 5e-7, X.double(), X[:1, :1, :1, :1], X.to(memory_format=torch.channels_last), X.flip(3)]
)
def test_images_in_the_range_are_taken_as_they_are(x):
    batch = Batch(x, Y[: len(x)])
    assert batch.x is x
    assert replace(batch, label_smoothing=0.1).x is x


@pytest.mark.parametrize("name", ["standard", "fast-bat", "free-at", "yopo"])
def test_tensors_of_inference_mode_are_trained_on(name):
    """Which autograd refuses to save: a data set that was decoded in inference mode, say."""
    with torch.inference_mode():
        x, y = X.clone(), Y.clone()
    found = []
    for batch in (Batch(x, y), Batch(X, Y)):
        model = model_of("preactresnet18")
        torch.manual_seed(3)
        update(method_of(name), model, batch)
        found.append([weight.grad for weight in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


class Operations(TorchDispatchMode):
    """Keeps the names of what runs within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_the_check_is_one_look_at_the_images():
    with Operations() as operations:
        Batch(X, Y)
    looks = [name for name in operations.found if name != "detach"]  # which torch counts in its own way
    assert looks == ["aminmax", "min", "_to_copy", "stack"]


def test_stored_images_are_not_looked_at_for_they_were_bytes():
    loader = Loader(load("digits").train.slice(0, 60), 20, seed=0, pad=2, flip=True)
    with Operations() as operations:
        batches = [replace(part, step=0) for batch in loader.epoch(0) for part in batch.split(3)]
    assert "aminmax" not in operations.found
    assert [Batch(part.x, part.y).x is part.x for part in batches] == [True] * 9
