"""Record what a refactor must leave as it is, bit for bit: weights of trainings, an evaluation, a diagnosis.

    OMP_NUM_THREADS=1 python tests/golden.py FILE.json      # record, or compare with what FILE.json holds

It takes the SHA-256 of the weights after two epochs of every case of the contract test on both of its networks: digits,
float32, one thread. An evaluation and a diagnosis are taken, too. All of it depends on the processor and on torch.
"""

import hashlib
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fastbat.audit import diagnose_target, evaluate_target
from fastbat.files import checksum, load_tensors
from fastbat.methods import METHODS
from fastbat.training import Settings, train
from test_methods import CASES

SMALL: dict[str, Any] = {
    "epochs": 2,
    "train_limit": 300,
    "select_limit": 40,
    "select_steps": 2,
    "precision": "float32",
    "device": "cpu",
}
NETWORKS = {"cnn": {"width": 4}, "preactresnet18": {"width": 2}}
MORE = {  # settings of the trainer, by name
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 3},
    "smoothing": {"label_smoothing": 0.3},
    "momentum": {"momentum_at_peak": 0.8},
    "released": {"protocol": "released", "select_steps": 2, "select_restarts": 1},
    "rollback": {"on_collapse": "rollback"},
}


def main() -> None:
    """Record, or compare and name what is no longer the same."""
    file = Path(sys.argv[1])
    torch.set_num_threads(1)
    found = dict(digests())
    if not file.exists():
        file.write_text(json.dumps({"machine": machine(), "sha256": found}, indent=1) + "\n")
        print(f"recorded {len(found)} in {file}")
        return
    kept = json.loads(file.read_text())
    if kept["machine"] != machine():
        sys.exit(f"{file} was recorded on {kept['machine']}, this is {machine()}")
    other = [name for name in kept["sha256"] if found.get(name) != kept["sha256"][name]]
    print("\n".join(other) or f"all {len(kept['sha256'])} are the same")
    sys.exit(bool(other))


def machine() -> str:
    """Return what the last bits depend on."""
    return f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__.partition('+')[0]}"


def digests() -> Any:
    """Yield (name, SHA-256)."""
    with TemporaryDirectory() as folder:
        for name, case in CASES.items():
            for network, shape in NETWORKS.items():
                yield (
                    f"{name}, {network}",
                    trained(Path(folder) / f"{name} {network}", case, {"model": network, **shape}),
                )
        for name, how in MORE.items():
            yield name, trained(Path(folder) / name, CASES["fast-at"], {"width": 4, **how})
        run = Path(folder) / "fast-bat cnn"
        how = {"limit": 60, "pgd_steps": 5, "pgd_restarts": 2, "precision": "float32", "device": "cpu"}
        result = evaluate_target(run, attacks=("clean", "noise", "fgsm", "pgd", "aa"), **how).record()
        kept = [{k: v for k, v in each.items() if k != "seconds"} for each in result["accuracies"]]
        yield "evaluation", digest([kept, result["red_flags"], result["not_judged"]])
        found = diagnose_target(run, Path(folder) / "look", limit=30, image=3, device="cpu")
        yield "diagnosis", digest({k: v for k, v in found.items() if k != "settings"})


def trained(out: Path, case: Any, settings: dict[str, Any]) -> str:
    """Return the SHA-256 of the last weights of a training."""
    run = train(METHODS[case.method](eps=30 / 255, **case.settings), Settings(**{**SMALL, **settings}), out)
    return checksum(load_tensors(run.weights("last"))[0], "")


def digest(what: Any) -> str:
    """Return the SHA-256 of something that is JSON."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    main()
