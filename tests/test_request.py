"""What an evaluation is asked for: numbers of any library are taken, anything else is refused in one line."""

import json

import numpy as np
import pytest
import torch

import fastbat
from fastbat.cli import main
from fastbat.errors import InputError
from fastbat.evaluation.request import Theory, attacks_of, budgets_of, check_seed, whole

EIGHT = 8 / 255
MODEL = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 10))
DATA = torch.rand(4, 1, 4, 4), torch.arange(4)


BUDGETS = {
    "a float": EIGHT,
    "NumPy's float": np.float64(EIGHT),
    "an array of no dimension": np.array(EIGHT),
    "an array": np.array([EIGHT]),
    "a tensor": torch.tensor(EIGHT, dtype=torch.float64),
    "a list": [EIGHT],
    "a set": {EIGHT},
    "a generator": (each / 255 for each in (8,)),
    "a range": range(1, 2),
    "a whole number": 1,
    "NumPy's whole number": np.int64(1),
}
WHOLE = {"int": 5, "int64": np.int64(5), "uint8": np.uint8(5), "a tensor": torch.tensor(5), "an array": np.array(5)}


@pytest.mark.parametrize("eps", BUDGETS.values(), ids=BUDGETS)
def test_budgets_of_any_library_are_taken(eps):
    (budget,) = budgets_of(eps)
    assert type(budget) is float
    assert budget in (EIGHT, 1.0)


def test_budgets_keep_their_order():
    assert budgets_of(np.array([0.5, 0.25], np.float32)) == (0.5, 0.25)


@pytest.mark.parametrize(
    "attacks", ["clean,pgd", "clean, pgd", ["clean", "pgd"], ("clean", "pgd", "clean"), {"clean": 1, "pgd": 2}.keys()]
)
def test_attacks_are_names_in_their_order_each_once(attacks):
    assert attacks_of(attacks) == ("clean", "pgd")


@pytest.mark.parametrize("number", WHOLE.values(), ids=WHOLE)
def test_whole_numbers_of_any_library_are_taken(number):
    assert (whole("pgd_steps", number), check_seed(number)) == (5, 5)
    assert type(whole("pgd_steps", number)) is type(check_seed(number)) is int


def test_an_evaluation_asked_for_in_numpys_numbers_is_the_same_evaluation():
    plain = {"eps": [0.25, 0.5], "attacks": ["fgsm"], "batch_size": 3, "seed": 7, "limit": 3}
    numpys = {
        "eps": np.array([0.25, 0.5], np.float32),
        "attacks": "fgsm",
        "batch_size": np.int32(3),
        "seed": np.int64(7),
    }
    one, other = (fastbat.evaluate(MODEL, DATA, **how) for how in (plain, numpys | {"limit": np.int16(3)}))
    records = [json.loads(json.dumps(each.record())) for each in (one, other)]
    for record in records:
        for accuracy in record["accuracies"]:
            del accuracy["seconds"]
    assert records[0] == records[1]


REFUSED = {
    "eps on the other scale": ({"eps": 8}, r"eps is 2040/255; .* \(in Python it is on the \[0, 1\] scale: 8/255\)"),
    "eps as text": ({"eps": "8/255"}, "eps is a str; it must be a number on the .* scale, such as 8/255"),
    "a switch for eps": ({"eps": True}, "eps is a bool; it must be a number"),
    "eps of nothing": ({"eps": None}, "no eps is given; name at least one budget"),
    "no eps": ({"eps": np.array([])}, "no eps is given; name at least one budget"),
    "NaN": ({"eps": float("nan")}, "eps is nan/255"),
    "a table of eps": ({"eps": np.ones((2, 2))}, "eps is a list; it must be a number"),
    "the same eps twice": ({"eps": torch.tensor([0.1, 0.1])}, "eps holds the same budget twice"),
    "capitals": ({"attacks": ["PGD"]}, "unknown attack 'PGD'; did you mean 'pgd'"),
    "a number for an attack": ({"attacks": [3]}, "unknown attack '3'; known: clean"),
    "no attacks": ({"attacks": []}, "no attacks are named; known: clean"),
    "a fraction": ({"pgd_steps": 2.0}, "pgd_steps is 2.0; it must be a whole number of at least 1"),
    "a switch for a number": ({"pgd_restarts": True}, "pgd_restarts is True; it must be a whole number"),
    "no images": ({"limit": np.int64(0)}, "limit is 0; it must be a whole number of at least 1"),
    "a seed below 0": ({"seed": np.int64(-1)}, "seed is -1; it must be a whole number from 0"),
    "surrogates without names": ({"attacks": "transfer", "surrogates": [MODEL]}, "surrogates are a list; give them by"),
    "a file to resume in": ({"resume_in": __file__}, "cannot write into .*; name another folder"),
    "an unknown precision": ({"precision": "fp16"}, "unknown precision 'fp16'; did you mean 'bf16'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_of_other_kinds_is_one_line(case):
    how, message = REFUSED[case]
    with pytest.raises(InputError, match=rf"\A{message}.*\Z"):
        fastbat.evaluate(MODEL, DATA, **({"eps": EIGHT} | how))


# What is asked of Appendix E

THEORIES = {
    "a size of no images": ({"noise_at": [0]}, "noise_at is 0; it must be a whole number of at least 1"),
    "a fraction of steps": ({"decay_over": [1.5]}, "decay_over is 1.5; it must be a whole number of at least 1"),
    "a size twice": ({"noise_at": [8, 8]}, "noise_at holds the same number twice: 8, 8"),
    "one draw": ({"draws": 1}, "draws is 1; a variance needs at least 2"),
    "more than all": ({"noise_at": [64], "train_images": 32}, "noise_at holds 64, above train_images, which is 32"),
    "no images": ({"train_images": 0}, "train_images is 0; it must be a whole number of at least 1"),
}
THEORY_FLAGS = {
    "--noise-at 8,x": "noise_at is '8,x'; it must be numbers with commas between them, such as 32,128,512",
    "--decay-over 10.5": "decay_over holds 10.5; it must be whole numbers with commas between them: 32,128,512",
    "--noise-at 64 --train-images 32": "noise_at holds 64, above train_images, which is 32",
    "--draws 1": "draws is 1; a variance needs at least 2",
}


@pytest.mark.parametrize(("asked", "why"), THEORIES.values(), ids=THEORIES)
def test_what_cannot_be_measured_of_appendix_e_is_refused(asked, why):
    with pytest.raises(InputError) as error:
        Theory(**asked)
    assert str(error.value) == why


@pytest.mark.parametrize(("words", "why"), THEORY_FLAGS.items(), ids=THEORY_FLAGS)
def test_and_so_it_is_on_the_command_line_before_anything_is_opened(words, why, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", str(tmp_path / "nowhere"), "--out", str(tmp_path / "look"), *words.split()])
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1)
    assert why in said
    assert not list(tmp_path.iterdir())


def test_sizes_in_numpys_numbers_are_taken_in_their_order():
    theory = Theory(noise_at=np.array([64, 8]), decay_over=[np.int64(5)])
    assert (theory.noise_at, theory.decay_over, theory.asked) == ((64, 8), (5,), True)
    assert not Theory().asked
