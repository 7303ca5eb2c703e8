"""Inputs that reviews found: each is one line, or the right answer."""

import base64
import inspect
import io
import json
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models as torchvision_models

import fastbat
from fastbat import METHODS, FastAT, Settings, Standard, train
from fastbat.audit import evaluate_target
from fastbat.cli import main
from fastbat.data import Batch, load, load_test
from fastbat.data.batch_check import ROUNDING
from fastbat.data.cache import indexed
from fastbat.data.encoded import Encoded, on_disk
from fastbat.errors import InputError
from fastbat.evaluation.check import gather
from fastbat.evaluation.request import attacks_of, budgets_of, check_seed, check_surrogates
from fastbat.geometry import TOLERANCE, check_eps, tiny
from fastbat.models import build_model, load_model, load_weights
from fastbat.models.external import UNDECIDED
from fastbat.training import Run, export_model


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


@pytest.mark.parametrize("shared", [True, False])
def test_weights_that_lie_in_a_file_twice_are_one_set(shared, tmp_path):
    """As of a model next to the attacker that holds it, too."""
    own = network().network.state_dict()
    both = {f"module.model.{name}": tensor for name, tensor in own.items()}
    both |= {f"module.attacker.model.{name}": tensor if shared else tensor.clone() for name, tensor in own.items()}
    load_weights(there := network(), saved(both, tmp_path / "both.pt"))
    assert all(torch.equal(tensor, own[name]) for name, tensor in there.network.state_dict().items())
    both = {name: torch.zeros_like(tensor) if "attacker" in name else tensor for name, tensor in both.items()}
    load_weights(there := network(), saved(both, tmp_path / "other.pt"))
    assert all(torch.equal(tensor, own[name]) for name, tensor in there.network.state_dict().items())


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


# Tensors that are not dense

X, Y = torch.rand(4, 1, 4, 4), torch.arange(4)
NOT_DENSE = {
    "sparse": (lambda t: t.to_sparse(), r"are in the layout torch.sparse_coo; give a dense tensor: .to_dense\(\)"),
    "meta": (lambda t: t.to("meta"), "are on the device meta, which holds no numbers; give them on a real device"),
    "nested": (lambda t: torch.nested.as_nested_tensor([t, t]), "are a nested tensor; give a dense one: torch.stack"),
    "masked": (lambda t: torch.masked.masked_tensor(t, t > 0), "are a masked tensor; fill in what is masked"),
}


@pytest.mark.parametrize("kind", NOT_DENSE)
@pytest.mark.parametrize("part", ["images", "labels"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch: its masked and nested tensors are prototypes
def test_tensors_that_are_not_dense_are_refused_in_audits_and_in_own_loops(part, kind):
    change, message = NOT_DENSE[kind]
    x, y = (change(X), Y) if part == "images" else (X, change(Y))
    for give in (lambda: gather((x, y), None), lambda: gather([(x, y)], None), lambda: Batch(x, y)):
        with pytest.raises(InputError, match=rf"\A{part} {message}.*\Z"):
            give()


class Changed(nn.Module):
    """A linear network whose logits are changed."""

    def __init__(self, change=lambda z: z, classes=4):
        super().__init__()
        self.linear, self.change = nn.Linear(16, classes), change

    def forward(self, x):
        return self.change(self.linear(x.flatten(1)))


@pytest.mark.parametrize("kind", sorted(NOT_DENSE.keys() - {"masked"}))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_logits_that_are_not_dense_are_refused(kind):
    change, message = NOT_DENSE[kind]
    with pytest.raises(InputError, match=rf"\Athe model's logits {message}.*\Z"):
        fastbat.evaluate(Changed(change), (X, Y), eps=0.1)


def test_a_network_without_numbers_is_refused():
    with pytest.raises(InputError, match="the model's logits are on the device meta"):
        fastbat.evaluate(Changed().to("meta"), (X, Y), eps=0.1)


@pytest.mark.parametrize("data", ["digits", b"digits", {"x": X, "y": Y}, 3, None])
def test_what_is_neither_a_pair_nor_a_loader_is_called_what_it_is(data):
    with pytest.raises(InputError, match=rf"data is a {type(data).__name__}; expected tensors \(x, y\) or a loader of"):
        gather(data, None)


def test_one_rounding_holds_for_audits_and_own_loops():
    for low, high in ((-0.9 * ROUNDING, 1), (-1.1 * ROUNDING, 1), (0, 1 + 0.9 * ROUNDING), (0, 1 + 1.1 * ROUNDING)):
        x = torch.tensor([low, high, 0, 0], dtype=torch.float64).view(1, 1, 2, 2)
        taken = low > -ROUNDING and high < 1 + ROUNDING
        for give in (lambda: gather((x, Y[:1]), None), lambda: Batch(x, Y[:1])):  # noqa: B023 (called here)
            if taken:
                give()
            else:
                with pytest.raises(InputError, match=r"they must lie in \[0, 1\]: clamp them, x.clamp\(0, 1\)"):
                    give()


# Surrogates, and whatever is given for a path


@pytest.mark.parametrize(
    ("surrogate", "message"),
    [
        (Changed().forward, r"the surrogate s is of type method; it must be an nn.Module"),
        (lambda x: x, "the surrogate s is of type function; it must be an nn.Module"),
        (Changed, "the surrogate s is of type type; it must be an nn.Module"),
        ("theirs.pt", "the surrogate s is of type str; it must be an nn.Module"),
        (None, "the surrogate s is of type NoneType; it must be an nn.Module"),
        (Changed(classes=3), "the surrogate s: labels lie in 0..3, but the model has 3 outputs"),
        (Changed(lambda z: (z, z)), "the surrogate s: the model returns tuple for 1 images; expected logits"),
    ],
)
def test_a_surrogate_is_a_network(surrogate, message, tmp_path):
    begun = []
    how = {"attacks": "transfer", "eps": 0.1, "resume_in": tmp_path, "begin": lambda: begun.append(True)}
    with pytest.raises(InputError, match=rf"\A{message}"):
        fastbat.evaluate(Changed(), (X, Y), surrogates={"s": surrogate}, **how)
    assert (begun, [*tmp_path.iterdir()]) == ([], [])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    settings = Settings(epochs=1, model="cnn", width=2, train_limit=40, select_limit=10, select_steps=1)
    return train(FastAT(eps=0.1), settings, folder)


def measured(run, **how):
    return evaluate_target(run, **({"attacks": "clean", "limit": 10} | how))


PATHS = {
    "a run directory": (lambda given, run: Run(given), "the run directory"),
    "where to train": (lambda given, run: train(FastAT(eps=0.1), Settings(), given), "the run directory"),
    "images to train on": (lambda given, run: Settings(dataset="folder", data_dir=given), "data_dir"),
    "weights to start from": (lambda given, run: Settings(init_from=given), "init_from"),
    "starting weights": (lambda given, run: load_weights(network(), given), "the file"),
    "images": (lambda given, run: load("folder", given), "data_dir"),
    "test images": (lambda given, run: load_test("folder", given), "data_dir"),
    "a file of ours": (lambda given, run: load_model(given), "the file"),
    "what to export": (lambda given, run: export_model(given, "x.pt2"), "the target"),
    "where to export to": (lambda given, run: export_model(run, given), "the file"),
    "a target": (lambda given, run: measured(given), "the target"),
    "a target to diagnose": (lambda given, run: fastbat.diagnose(given, "x"), "the target"),
    "where to write a diagnosis": (lambda given, run: fastbat.diagnose(run, given), "out"),
    "where to keep a record": (lambda given, run: measured(run, out=given), "out"),
    "test images of a target": (lambda given, run: measured(run, data_dir=given), "data_dir"),
    "a surrogate of a target": (
        lambda given, run: measured(run, attacks="transfer", surrogates={"a": given}),
        "the surrogate a",
    ),
    "where to resume": (lambda given, run: fastbat.evaluate(Changed(), (X, Y), eps=0.1, resume_in=given), "resume_in"),
    "examples": (
        lambda given, run: fastbat.evaluate(Changed(), (X, Y), eps=0.1, save_adversarial=given),
        "save_adversarial",
    ),
}
NO_PATHS = {
    "a number": (3, "is of type int; give a path"),
    "a fraction": (0.5, "is of type float; give a path"),
    "a switch": (True, "is of type bool; give a path"),
    "bytes": (b"x", "is of type bytes; give a path"),
    "a list": (["x"], "is of type list; give a path"),
    "a network": (nn.Linear(2, 2), "is of type Linear; give a path"),
    "nothing": ("", "is '', which is no path: it is empty; give a path"),
    "a zero byte": ("a\0b", r"is 'a\\x00b', which is no path: .*null (byte|character).*; give a path"),
    "a long name": ("a" * 300, "is 'aaaaaaaaaaaa...aaaaaaaaaaaaa', which is no path: File name too long; give a path"),
}


@pytest.mark.parametrize("given", NO_PATHS)
@pytest.mark.parametrize("where", PATHS)
def test_what_is_no_path_is_one_line_and_writes_nothing(where, given, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (call, name), (value, message) = PATHS[where], NO_PATHS[given]
    with pytest.raises(InputError, match=rf"\A{name} {message}\Z"):
        call(value, run.path)
    assert [*tmp_path.iterdir()] == []


def test_text_is_a_path_wherever_one_is_taken(run, tmp_path):
    text = str(run.path)
    assert measured(text, surrogates={"a": run}, attacks="transfer", eps=0.1, limit=10, out=str(tmp_path / "o")).n == 10
    settings = Settings(init_from=text, epochs=1, model="cnn", width=2, train_limit=40, select_limit=10, select_steps=1)
    again = train(Standard(), settings, str(tmp_path / "again"))
    assert again.read_config()["init_from"] == text
    load_weights(build_model("cnn", width=2, mean=[0.0], std=[1.0]), text)


def test_an_origin_is_an_origin(run):
    with pytest.raises(InputError, match=r"origin is of type dict; give fastbat.Origin\(dataset=..., model=...\)"):
        measured(run, origin={"dataset": "digits"})


@pytest.mark.parametrize("device", [["cpu"], 3.5, True])
def test_a_device_has_a_name(device, run, tmp_path):
    with pytest.raises(InputError, match=r"is not available here; choose cpu, cuda or auto"):
        measured(run, device=device)
    with pytest.raises(InputError, match=r"is not available here; choose cpu, cuda or auto"):
        train(FastAT(eps=0.1), Settings(device=device), tmp_path / "run")


# Tables


def files(count=70):
    """Return the bytes of BMP files of one length, and their pixels (H, W, 3)."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    written = []
    for each in pixels:
        Image.fromarray(each).save(buffer := io.BytesIO(), "BMP")
        written.append(buffer.getvalue())
    return written, pixels


ENCODINGS = {
    "binary": lambda data: pa.array(data),
    "large": lambda data: pa.array(data, pa.large_binary()),
    "of one length": lambda data: pa.array(data, pa.binary(len(data[0]))),
    "dictionary": lambda data: pa.array(data).dictionary_encode(),
} | ({"view": lambda data: pa.array(data, pa.binary_view())} if hasattr(pa, "binary_view") else {})


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_bytes_are_images_however_arrow_stores_them(encoding, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))
    data, pixels = files()
    rows = {"image": ENCODINGS[encoding](data), "label": pa.array([i % 2 for i in range(len(data))])}
    pq.write_table(pa.table(rows), tmp_path / "test.parquet", row_group_size=30)
    stored = Encoded.of(on_disk(tmp_path, None, False, "test"), None, None, 3)
    for each in (stored, indexed(stored)):  # as read, and as copied for a stream
        assert all(np.array_equal(np.asarray(image), pixels[i]) for i, image in each)
    assert np.array_equal(np.asarray(indexed(stored).open(61)), pixels[61])


TEXTS = {
    "base64": lambda data: [base64.b64encode(each).decode() for each in data],
    "paths": lambda data: ["a/b.png" for _ in data],
}


@pytest.mark.parametrize("encoded", [True, False], ids=["dictionary", "plain"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_column_of_text_is_refused_as_text(text, encoded, tmp_path):
    column = pa.array(TEXTS[text](files(3)[0]))
    rows = {"image": column.dictionary_encode() if encoded else column, "label": pa.array([0, 1, 1])}
    pq.write_table(pa.table(rows), tmp_path / "test.parquet")
    line = "column 'image' of .*/test.parquet' holds text, such as a path or base64; store the bytes of the image files"
    with pytest.raises(InputError, match=rf"\A{line}\Z"):
        load_test("parquet", tmp_path)


def test_text_next_to_the_bytes_is_shortened_and_never_opened(tmp_path):
    text = base64.b64encode(files(1)[0][0]).decode()
    for stored, message in (
        ({"bytes": None, "path": text}, r"row 0 \('Qk1mAAAAAAAA\.\.\.[\w+/=]{13}'\) of .* holds no picture"),
        ({"bytes": text, "path": "a"}, "holds no images but struct<bytes: string, path: string>"),
    ):
        pq.write_table(pa.table({"image": pa.array([stored]), "label": pa.array([0])}), tmp_path / "test.parquet")
        with pytest.raises(InputError, match=message):
            load_test("parquet", tmp_path)


GARBLED = {
    "no JSON": (b"{nope", "Expecting property name"),
    "no text": (b"\xff\xfe", ""),
    "a list": (b"[1]", "it has another form than `datasets` writes"),
    "a list of columns": (b'{"info": {"features": [1]}}', "it has another form"),
    "too deep": (b"[" * 100_000, ""),
    "a number of classes": (b'{"info": {"features": {"label": {"names": 3}}}}', "the names of 'label' are no list"),
    "one text": (b'{"info": {"features": {"label": {"names": "ab"}}}}', "the names of 'label' are no list of texts"),
    "numbers": (b'{"info": {"features": {"label": {"names": [1, 2]}}}}', "the names of 'label' are no list of texts"),
}


@pytest.mark.parametrize("case", GARBLED)
def test_garbled_metadata_of_a_table_is_named_as_the_cause(case, tmp_path):
    text, why = GARBLED[case]
    table = pa.table({"image": pa.array(files(2)[0]), "label": pa.array([0, 1])})
    pq.write_table(table.replace_schema_metadata({b"huggingface": text}), tmp_path / "test.parquet")
    line = (
        rf"\Athe metadata 'huggingface' of .*test.parquet' is garbled \({why}.*\); write the table again without it\Z"
    )
    with pytest.raises(InputError, match=line):
        load_test("parquet", tmp_path)


@pytest.mark.parametrize("text", [b"null", b"{}", b'{"info": null}', b'{"info": {"features": null}}'])
def test_metadata_that_say_nothing_are_no_obstacle(text, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))
    table = pa.table({"image": pa.array(files(2)[0]), "label": pa.array([0, 1])})
    pq.write_table(table.replace_schema_metadata({b"huggingface": text}), tmp_path / "test.parquet")
    assert load_test("parquet", tmp_path).classes == ("0", "1")


@pytest.mark.parametrize(("names", "twice"), [(["image", "label", "label"], "label"), (["img", "img", "label"], "img")])
def test_two_columns_of_one_name_are_refused(names, twice, tmp_path):
    columns = [pa.array([0, 1]) if name == "label" else pa.array(files(2)[0]) for name in names]
    pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "test.parquet")
    with pytest.raises(InputError, match=rf"test.parquet' has 2 columns called '{twice}'; rename all but one"):
        load_test("parquet", tmp_path)


def test_more_labels_than_named_classes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBAT_CACHE", str(tmp_path / "cache"))
    about = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": pa.array(files(3)[0]), "label": pa.array([0, 1, 2])})
    table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    pq.write_table(table, tmp_path / "test.parquet")
    with pytest.raises(InputError, match=r"parquet has test labels 0..2 for 2 classes; number them from 0 on"):
        load_test("parquet", tmp_path)


# Budgets


@pytest.mark.parametrize("power", [2, 3])
@pytest.mark.parametrize("grey", [1, 2, 4, 8, 16])
def test_a_budget_divided_too_often_is_recognised(grey, power):
    assert tiny(grey / 255**power).endswith(f"was {grey}/255 meant?")


@pytest.mark.parametrize("eps", [0, -1e-3, 0.5 / 255, 8 / 255, 1, float("nan")])
def test_other_budgets_are_not_doubted(eps):
    assert tiny(eps) is None


@pytest.mark.parametrize("eps", [TOLERANCE, 1e-9, 8 / 255**4, 5e-324])
def test_a_budget_that_changes_no_pixel_is_refused(eps):
    assert torch.tensor(1.0) - eps >= 1 - 2 * torch.finfo(torch.float32).eps
    with pytest.raises(InputError, match=r"/255, too small to change a pixel in float32; for 8 grey levels write 8 on"):
        check_eps(eps)
    with pytest.raises(InputError, match="too small to change a pixel"):
        FastAT(eps=eps)


# Networks that cannot be trained

CODE = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.layer = nn.Linear(64, k)
    def forward(self, x):
        return self.layer(x.flatten(1))
class Detached(Net):
    def forward(self, x): return super().forward(x).detach()
class Apart(Net):
    def forward(self, x): return super().forward(x.detach())
class Sparse(Net):
    def forward(self, x): return super().forward(x).to_sparse()
def frozen(num_classes): return Net(num_classes).requires_grad_(False)
def partly(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8).requires_grad_(False), nn.ReLU(), nn.Linear(8, num_classes))
def weightless(num_classes): return nn.Sequential(nn.Flatten(2), nn.AdaptiveAvgPool1d(num_classes), nn.Flatten())
def meta(num_classes): return Net(num_classes).to("meta")
def detached(num_classes): return Detached(num_classes)
def apart(num_classes): return Apart(num_classes)
def sparse(num_classes): return Sparse(num_classes)
"""
UNTRAINABLE = {
    "frozen": "all 2 weights of the model are frozen: nothing can be trained; give it some with requires_grad=True",
    "weightless": "the model has no weights: nothing can be trained; give it some with requires_grad=True",
    "meta": "the model's weights are on the device meta, which holds no numbers; give them on a real device",
    "detached": r"\w+ cannot train this model: its output has no gradient; is it detached, or computed within no_grad",
    "apart": r"\w+ cannot train this model: its output has no gradient with respect to the images, which an attack",
    "sparse": "the model's logits are in the layout torch.sparse_coo; give a dense tensor",
}


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    (tmp_path / "nets_to_refuse.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("method", ["fast-at", "fast-bat", "trades"])
@pytest.mark.parametrize("name", UNTRAINABLE)
def test_a_network_that_cannot_be_trained_is_one_line_of_ours(name, method, own_code, tmp_path):
    with pytest.raises(InputError, match=rf"\A{UNTRAINABLE[name]}"):
        train(METHODS[method](eps=0.1), Settings(model=f"nets_to_refuse:{name}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["partly", "apart"])
def test_a_network_that_can_be_trained_is(name, own_code, tmp_path):
    """Some of its weights are frozen; or it has no gradient of the images, and the method needs none."""
    method = Standard() if name == "apart" else FastAT(eps=0.1)
    settings = Settings(model=f"nets_to_refuse:{name}", epochs=1, train_limit=40, select_limit=10, select_steps=1)
    run = train(method, settings, tmp_path / "run")
    assert run.weights("best").exists()


def test_yopo_needs_its_first_layer(own_code, tmp_path):
    with pytest.raises(
        InputError, match=r"\AYOPO needs the gradient at the first layer, whose weights are frozen; train"
    ):
        train(METHODS["yopo"](eps=0.1), Settings(model="nets_to_refuse:partly"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_networks_of_torchvision_are_built_without_its_warning():
    """Those that warn, by their signatures, are told how to start; warnings are errors in these tests."""
    undecided = []
    for name in torchvision_models.list_models(module=torchvision_models):
        made = inspect.signature(torchvision_models.get_model_builder(name)).return_annotation
        made = getattr(torchvision_models, made) if isinstance(made, str) else made
        if inspect.signature(made).parameters.get("init_weights", inspect.Parameter).default is None:
            undecided.append(name)
    assert sorted(undecided) == sorted(UNDECIDED)
    build_model("torchvision/inception_v3", num_classes=3)
