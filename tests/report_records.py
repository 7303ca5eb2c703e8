"""Records as fastbat writes them, small and made by hand, for the tests of reports."""

import json
from itertools import product
from pathlib import Path

import numpy as np

from fastbat.files import append_record

HOSTILE = "<script>alert(1)</script>"


def mask(bits):
    """Return which images are right, as an evaluation's record has it."""
    return np.packbits(np.asarray(bits, bool)).tobytes().hex()


def accuracy(attack="pgd", eps=8, hits=50, n=100, bits=None):
    """Return an accuracy's record."""
    label = {"clean": "SA", "pgd": "RA-PGD-50-10", "aa": "RA-AA"}.get(attack, f"RA-{attack}")
    held = mask([1] * hits + [0] * (n - hits)) if bits is None else bits
    return {
        "attack": attack, "label": label, "eps_255": float(eps), "percent": 100 * hits / n, "interval": [0.0, 100.0],
        "hits": hits, "n": n, "rejected": 1, "seconds": 2.5, "upper_bound": False,
        "per_class": [80.0, 40.0] * 5, "mask": held,
    }  # fmt: skip


def evaluation(accuracies=None, best="best", **settings):
    """Return an evaluation's record, of a run's best epoch or, without `best`, of another model."""
    about = {
        "precision": "float32", "target": f"{best}.safetensors", "epoch": 2 if best else None, "images": "same",
        "weights": "w", "dataset": "cifar10", "versions": {"torch": "2.15.0", "commit": "abc1234+"},
        "command": "fastbat evaluate RUN",
        "machine": {"cpu": "a processor", "cores": 2, "threads": 1}, "started": "2026-11-28T12:00:00+00:00",
    }  # fmt: skip
    made = [accuracy("clean", 0, 80), accuracy("pgd", 8)] if accuracies is None else accuracies
    return {"schema": 3, "n": 100, "accuracies": made, "red_flags": [], "not_judged": [], "settings": about | settings}


def epoch(number, ra=20.0, one=25.0, seconds=10.0, **more):
    """Return an epoch's record."""
    return {
        "epoch": number, "loss": 2.0 / number, "seconds": seconds, "val_n": 1000, "val_sa": 40.0 + number, "val_ra": ra,
        "val_one_step": one, "collapsed": False, "best": number == 2, **more,
    }  # fmt: skip


def trial(method, seed, epochs=None, results=None, eps=8, **settings):
    """Return the record of a finished trial."""
    budget = {} if eps is None else {"eps": eps}
    train = {
        "dataset": "cifar10",
        "model": "preactresnet18",
        "width": 16,
        "method": method,
        **budget,
        "seed": seed,
        **settings,
    }
    made = [evaluation([accuracy("clean", 0, 80), accuracy("pgd", eps or 8)])] if results is None else results
    words = "".join(f"-{value}" for value in settings.values()) + (f"-eps{eps}" if eps not in (8, None) else "")
    return {
        "trial": f"{method}{words}-seed{seed}", "train": train, "evaluate": [], "status": "finished", "results": made,
        "epochs": [epoch(1), epoch(2)] if epochs is None else epochs,
    }  # fmt: skip


def suite(folder, trials, table=None):
    """Write the records of a suite into `folder`, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in trials:
        append_record(folder / "results.jsonl", each)
    if table:
        (folder / "suite.toml").write_text(table)
    return folder


def comparison(folder):
    """Write a suite of six arms at two budgets, best and last weights, two of them collapsed; return its folder."""
    trials = []
    for eps in (16, 8):
        for k, (method, shortcut) in enumerate(product(("pgd-2", "n-fgsm", "fast-at"), ("raw", "preact"))):
            falls = method != "pgd-2" and shortcut == "preact"
            later = [epoch(3, 2, 60, 10 + k, collapsed=True)] if falls else [epoch(3, 26, 30, 10 + k)]
            best = [accuracy("clean", 0, 800 - 7 * k * k, 1000), accuracy("pgd", eps, 400 - 30 * k, 1000)]
            last = [accuracy("clean", 0, 820, 1000), accuracy("pgd", eps, 5 if falls else 400 - 30 * k, 1000)]
            results = [evaluation(best), evaluation(last, "last", weights="l")]
            epochs = [epoch(1, seconds=10 + k), epoch(2, 25, seconds=10 + k), *later]
            trials.append(trial(method, 0, epochs, results, eps, shortcut=shortcut))
    return suite(folder, trials)


def run_with_everything(folder):
    """Write a run directory with evaluations, a curve and a closer look into `folder`, and return it."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(
        'method = "fast-bat"\neps = 51.0\ndataset = "digits"\nmodel = "cnn"\nseed = 0\n'
    )
    fallen = {"collapsed": True, "ga": 0.2}
    for each in (epoch(1, ga=0.9), epoch(2, 30, 35, ga=0.8), epoch(3, 2, 60, **fallen), epoch(4, 1, 70, **fallen)):
        append_record(folder / "metrics.jsonl", each)
    attacks = [accuracy("clean", 0, 90), accuracy("pgd", 51, 40), accuracy("aa", 51, 38)]
    flag = {"name": "black-box", "text": "square breaks <more> than PGD", "figures": {}}
    curve = [accuracy("pgd", eps, hits) for eps, hits in ((12, 80), (25, 70), (51, 40), (77, 5))]
    last = [accuracy("clean", 0, 95), accuracy("pgd", 51, 0), accuracy("aa", 51, 0)]
    for record in (
        evaluation(attacks) | {"red_flags": [flag]},
        evaluation(curve),
        evaluation(last, "last", weights="l"),
    ):
        append_record(folder / "evaluation.jsonl", record)
    append_record(folder / "provenance.jsonl", {"command": "fastbat train", **evaluation()["settings"]})
    look(folder / "look")
    return folder


def look(folder: Path, settings=None):
    """Write a closer look into `folder`."""
    folder.mkdir()
    about = {
        "n": 40, "eps_255": 51.0, "ga": 0.8, "gradient_l2": {"5%": 0.1, "50%": 0.2, "95%": 0.3}, "zero_gradients": 0.0,
        "sa": 95.0, "robust_share": {"25.5": 0.8, "51": 0.4, "102": 0.0}, "landscape_image": 3,
        "settings": settings or {"target": "best.safetensors", "classes": ["nought", "one"]},
    }  # fmt: skip
    (folder / "diagnosis.json").write_text(json.dumps(about))
    steps = np.linspace(-0.4, 0.4, 9, dtype=np.float32)
    np.savez(folder / "landscape.npz", steps=steps, losses=np.exp(4 * steps[:, None] + steps[None] ** 2))
    x = np.linspace(0, 1, 2 * 64, dtype=np.float32).reshape(2, 1, 8, 8)
    says = {
        "says": np.array([0, 1]),
        "sure": np.array([0.9, 0.6]),
        "says_adv": np.array([1, 0]),
        "sure_adv": np.array([0.7, 0.8]),
    }
    adversarial = {"x": x, "x_adv": 1 - x, "label": np.array([0, 1]), "smallest_eps": np.array([0.025, 0.05])}
    np.savez(folder / "easiest.npz", index=np.array([4, 7]), **says, **adversarial)


def gradients_suite(folder, slope=-0.7):
    """Write a suite of one arm, three seeds, with a closer look of Appendix E each; the decay of seed i is steeper."""
    arm = {
        "dataset": "digits",
        "model": "cnn",
        "activation": "softplus",
        "linearise": "uniform",
        "eps": 51,
    }
    trials = [trial("fast-bat", seed, results=[evaluation([accuracy("pgd", 51)])], **arm) for seed in range(3)]
    suite(folder, trials)
    for seed, each in enumerate(trials):
        rows = [
            {"of": c, "b": b, "n": 64, "draws": 9, "gradient": 2.0, "bias": 0.2, "bias_error": 0.1, "variance": 16 / b,
             "sigma2": 3.2 / b}
            for c in ("0.1", "a") for b in (16, 32)
        ]  # fmt: skip
        decays = [
            {"of": c, "batch": b, "steps": t, "rate": 0.1, "mean_square": 3 * t ** (slope - seed / 100), "first": 1.0,
             "last": 0.1}
            for c, b in (("a", 32), ("a", 64)) for t in (100, 1000)
        ]  # fmt: skip
        place = folder / each["trial"] / "look"
        place.mkdir(parents=True)
        about = {"target": "best.safetensors", "epoch": 2, **evaluation()["settings"]}
        record = {"n": 4, "eps_255": 51.0, "train_images": 64, "noise": rows, "decay": decays, "settings": about}
        (place / "diagnosis.json").write_text(json.dumps(record))
    return folder


def hostile(folder):
    """Write a suite whose every name is markup into `folder`, and return it."""
    break_out = '"><img src=x onerror=alert(2)>'
    one = trial(HOSTILE, 0, dataset="</script><script>alert(3)</script>")
    two = trial("fast-at", 0, step=break_out, results=[evaluation(command=HOSTILE, precision=HOSTILE)])
    two["results"][0]["red_flags"] = [{"name": break_out, "text": HOSTILE, "figures": {}}]
    two["train"]["dataset"] = one["train"]["dataset"]
    failed = {"trial": HOSTILE, "train": {}, "evaluate": [], "status": "failed", "error": break_out}
    suite(folder, [one | {"trial": "one"}, two | {"trial": "two"}, failed])
    run = folder / "one"
    run.mkdir()
    look(run / "look", {"classes": [HOSTILE, break_out]})
    return folder
