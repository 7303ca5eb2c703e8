"""Record what a refactor must leave as it is, bit for bit: weights of trainings, an evaluation, a diagnosis.

    OMP_NUM_THREADS=1 python tests/golden.py tests/data/golden.json   # compare, or record where there is no such file

It takes the SHA-256 of the weights after two epochs of every case of the contract test on both of its networks: digits,
float32, one thread. An evaluation and a diagnosis are taken, too. All of it depends on the processor and on torch, and
so does a control, which torch computes alone. tests/test_golden.py computes a few again.
"""

import hashlib
import json
import sys
from collections.abc import Container, Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fastbat.audit import diagnose_target, evaluate_target
from fastbat.files import checksum, load_tensors
from fastbat.methods import METHODS
from fastbat.provenance import processor
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
TRAININGS = {  # name -> case, settings
    **{f"{name}, {net}": (name, {"model": net, **NETWORKS[net]}) for name, net in product(CASES, NETWORKS)},
    **{name: ("fast-at", {"width": 4, **how}) for name, how in MORE.items()},
}
EVALUATIONS = {  # of the training fast-bat, cnn
    "evaluation": ("clean", "noise", "fgsm", "pgd", "aa"),
    "evaluation, quick": ("clean", "noise", "fgsm", "pgd", "apgd-ce"),
}
NAMES = (*TRAININGS, *EVALUATIONS, "diagnosis")


def main() -> None:
    """Record, or compare and name what is no longer the same."""
    file = Path(sys.argv[1])
    torch.set_num_threads(1)
    if not file.exists():
        made = {"machine": machine(), "processor": processor(), "control": control()}
        file.write_text(json.dumps({**made, "sha256": dict(digests(NAMES))}, indent=1) + "\n")
        return
    kept = json.loads(file.read_text())
    if why := differs(kept):
        sys.exit(f"{file}: {why}")
    found = dict(digests(NAMES))
    other = [name for name in kept["sha256"] if found.get(name) != kept["sha256"][name]]
    print("\n".join(other) or f"all {len(kept['sha256'])} are the same")
    sys.exit(bool(other))


def differs(kept: dict[str, Any]) -> str:
    """Return why what was `kept` cannot be compared with what is computed here; nothing if it can."""
    if kept["machine"] != machine():
        return f"recorded on {kept['machine']}; this is {machine()}"
    if kept["control"] != control():
        return f"torch alone has other bits here ({processor()}) than where it was recorded ({kept['processor']})"
    return ""


def machine() -> str:
    """Return what the last bits depend on, in words."""
    return f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__.partition('+')[0]}"


def control() -> str:
    """Return the SHA-256 of weights that torch trains alone, by layers such as those of the networks."""
    weights = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2, padding=1)]
        net = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(4, 8, 1, stride=2), nn.Flatten(), nn.Linear(32, 10))
        net = net.to(memory_format=layout)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        x, y = torch.rand(128, 1, 8, 8).to(memory_format=layout), torch.randint(10, (128,))
        for _ in range(10):
            z = x.clone().requires_grad_()
            F.cross_entropy(net(z), y).backward()
            F.cross_entropy(net(x + 0.1 * z.grad.sign() + z.grad), y).backward()
            optimizer.step()
            optimizer.zero_grad()
        weights |= {f"{layout} {name}": tensor for name, tensor in net.state_dict().items()}
    return checksum(weights, "")


def digests(names: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield (name, SHA-256) of those that are named."""
    with TemporaryDirectory() as folder:
        for name, (case, settings) in TRAININGS.items():
            if name in names:
                yield name, trained(Path(folder) / name, case, settings)
        run = Path(folder) / "run"
        trained(run, *TRAININGS["fast-bat, cnn"])
        for name, attacks in EVALUATIONS.items():
            if name in names:
                yield name, evaluated(run, attacks)
        if "diagnosis" in names:
            yield "diagnosis", diagnosed(run)


def trained(out: Path, name: str, settings: dict[str, Any]) -> str:
    """Return the SHA-256 of the last weights of a training."""
    case = CASES[name]
    run = train(METHODS[case.method](eps=30 / 255, **case.settings), Settings(**{**SMALL, **settings}), out)
    return checksum(load_tensors(run.weights("last"))[0], "")


def evaluated(run: Path, attacks: tuple[str, ...]) -> str:
    """Return the SHA-256 of the record of an evaluation, but for its times."""
    how = {"limit": 60, "pgd_steps": 5, "pgd_restarts": 2, "precision": "float32", "device": "cpu"}
    result = evaluate_target(run, attacks=attacks, **how).record()
    kept = [{k: v for k, v in each.items() if k != "seconds"} for each in result["accuracies"]]
    return digest([kept, result["red_flags"], result["not_judged"]])


def diagnosed(run: Path) -> str:
    """Return the SHA-256 of what a diagnosis finds."""
    found = diagnose_target(run, run.parent / "look", limit=30, image=3, device="cpu")
    return digest({k: v for k, v in found.items() if k != "settings"})


def digest(what: Any) -> str:
    """Return the SHA-256 of something that is JSON."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    main()
