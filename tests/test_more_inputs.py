"""Inputs that a review found: each is one line, or the right answer."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fastbat.cli import main
from fastbat.data import Batch, load_test
from fastbat.errors import InputError
from fastbat.evaluation.check import gather
from fastbat.evaluation.request import attacks_of, budgets_of, check_seed, check_surrogates
from fastbat.models import build_model, load_weights


def refused(line, capsys):
    """Return what refuses a command line."""
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("labels", [[0, 1, 10**9], [-1, 0, 1]])
def test_labels_that_number_no_classes_are_refused(labels, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3)).tolist()
    pq.write_table(pa.table({"image": pixels, "label": pa.array(labels, pa.int64())}), tmp_path / "test.parquet")
    with pytest.raises(InputError, match=rf"parquet has test labels {min(labels)}..{max(labels)}; number the classes"):
        load_test("parquet", tmp_path)


def network():
    torch.manual_seed(0)
    return build_model("cnn", width=4, mean=[0.0], std=[1.0])


def saved(tensors, file):
    torch.save(tensors, file)
    return file


def test_of_two_complete_sets_of_weights_the_usual_one_is_taken_or_none(tmp_path):
    own = network().network.state_dict()
    blank = {name: torch.zeros_like(tensor) for name, tensor in own.items()}
    both = {f"ema.{name}": tensor for name, tensor in blank.items()}
    both |= {f"model.{name}": tensor for name, tensor in own.items()}
    load_weights(there := network(), saved(both, tmp_path / "both.pt"))
    assert all(torch.equal(tensor, own[name]) for name, tensor in there.network.state_dict().items())
    other = {name.replace("model.", "teacher."): tensor for name, tensor in both.items()}
    with pytest.raises(InputError, match=r"holds several sets of weights: 'ema.', 'teacher.'; save the one"):
        load_weights(network(), saved(other, tmp_path / "other.pt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to_sparse(), r"sparse \(torch.sparse_coo\); save it dense"),
        (lambda t: (100 * t).to(torch.int8), "in torch.int8; save it in floating point"),
        (lambda t: t.to(torch.complex64), "in torch.complex64; save it in floating point"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, of sparse tensors
def test_weights_that_are_no_dense_floats_are_refused(change, message, tmp_path):
    weights = {name: change(t) if t.is_floating_point() else t for name, t in network().network.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_weights(network(), saved(weights, tmp_path / "w.pt"))


@pytest.mark.parametrize("size", ["-3", "0"])
def test_an_image_size_below_one_is_refused(size, capsys, tmp_path):
    saved(network().state_dict(), tmp_path / "cnn.pt")
    line = f"evaluate {tmp_path}/cnn.pt --model cnn --dataset folder --data-dir {tmp_path} --eps 8 --image-size={size}"
    assert f"image_size is {size}; it must be at least 1" in refused(line, capsys)


def test_a_key_of_resolved_that_nothing_has_is_refused(capsys, tmp_path):
    (tmp_path / "c.toml").write_text('method = "fast-at"\n[resolved]\nepcohs = 1\n')
    err = refused(f"train --config {tmp_path}/c.toml --out {tmp_path}/run", capsys)
    assert "unknown setting 'epcohs' in" in err
    assert "did you mean 'epochs'?" in err


def test_requests_of_other_kinds():
    assert budgets_of(Fraction(8, 255)) == (8 / 255,)
    assert attacks_of("clean,") == ("clean",)
    with pytest.raises(InputError, match="attacks are a NoneType; name them, such as clean,pgd"):
        attacks_of(None)
    with pytest.raises(InputError, match="a surrogate is called 1; name it with letters"):
        check_surrogates(("transfer",), {1: network()})
    with pytest.raises(InputError, match="seed is True"):
        check_seed(True)
    with pytest.raises(InputError, match="an array is masked; fill in what is masked"):
        gather((np.ma.masked_greater(np.zeros((2, 1, 2, 2), np.float32), 1), np.zeros(2, np.int64)), None)
    with pytest.raises(InputError, match=r"lie in \[0, 1.5\]; .* it is not known what is white; scale them"):
        Batch(torch.tensor([0.0, 1.5, 0.0, 0.0]).view(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64))
