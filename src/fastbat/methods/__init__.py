"""Training methods: each one file that reads like the algorithm of its paper. A method yields losses.

    for loss in method.losses(model, batch):
        loss.backward()          # the losses of one call accumulate into one update

A method is a frozen dataclass; its fields are its settings, `eps` is on the [0, 1] scale. A setting that follows from
eps unless given has `per_eps` in its field's metadata: its number for one eps is stale under another. The weight of a
loss has `published`, the largest one published; a larger one is reported. What a method measures it leaves in `stats`,
0-d tensors by name, for the trainer's metrics. A batch for which it yields no loss makes no update. It may also have

    replays                          how often each batch is presented (FREE-AT's m); 1 where it has none
    budget                           its own epochs and learning rate, unless the user sets them
    differentiates_twice             whether its backward pass goes through a gradient, as a penalty on it does
    splits                           whether it stops the network behind one of its layers
    needs                            what of a batch it cannot do without, by name, with what to tell the user
    state_dict, load_state_dict      what it remembers from batch to batch, as tensors
"""

from fastbat.methods.atta import Atta
from fastbat.methods.backsmooth import BackSmooth
from fastbat.methods.fast_at import FastAT
from fastbat.methods.fast_at_ga import FastATGA
from fastbat.methods.fast_bat import FastBAT
from fastbat.methods.free_at import FreeAT
from fastbat.methods.method import LabelledBatch, Method, beyond_published
from fastbat.methods.n_fgsm import NFGSM
from fastbat.methods.pgd_at import Pgd2AT, Pgd7AT, PgdAT
from fastbat.methods.standard import Standard
from fastbat.methods.trades import Trades
from fastbat.methods.yopo import Yopo

METHODS: dict[str, type[Method]] = {
    "fast-bat": FastBAT,
    "fast-at": FastAT,
    "fast-at-ga": FastATGA,
    "pgd-at": PgdAT,
    "pgd-2": Pgd2AT,
    "pgd-7": Pgd7AT,
    "free-at": FreeAT,
    "yopo": Yopo,
    "atta": Atta,
    "backsmooth": BackSmooth,
    "n-fgsm": NFGSM,
    "trades": Trades,
    "standard": Standard,
}

__all__ = ["METHODS", "FastBAT", "LabelledBatch", "Method", "PgdAT", "beyond_published"]
