"""Training methods: each one file that reads like the algorithm of its paper. A method yields losses.

    for loss in method.losses(model, batch):
        loss.backward()          # the losses of one call accumulate into one update

What a method is stands in method.py. A new one is a file, and a line in METHODS.
"""

from fastbat.methods.atta import Atta
from fastbat.methods.backsmooth import BackSmooth
from fastbat.methods.elle_a import ElleA
from fastbat.methods.fast_at import FastAT
from fastbat.methods.fast_at_ga import FastATGA
from fastbat.methods.fast_bat import FastBAT
from fastbat.methods.fgsm_mep import FgsmMep
from fastbat.methods.fgsm_rs_cs import FgsmRsCs
from fastbat.methods.fgsm_uap import FgsmUap
from fastbat.methods.free_at import FreeAT
from fastbat.methods.liet import Liet
from fastbat.methods.method import Method, Traits, beyond_published
from fastbat.methods.n_fgsm import NFGSM
from fastbat.methods.nuat import NuAT
from fastbat.methods.pgd_at import Pgd2AT, Pgd7AT, PgdAT
from fastbat.methods.sora import Sora
from fastbat.methods.standard import Standard
from fastbat.methods.tdat import Tdat
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
    "fgsm-rs-cs": FgsmRsCs,
    "liet": Liet,
    "fgsm-mep": FgsmMep,
    "tdat": Tdat,
    "nuat": NuAT,
    "elle-a": ElleA,
    "sora": Sora,
    "fgsm-uap": FgsmUap,
    "trades": Trades,
    "standard": Standard,
}

__all__ = [
    "METHODS", "NFGSM", "Atta", "BackSmooth", "ElleA", "FastAT", "FastATGA", "FastBAT", "FgsmMep", "FgsmRsCs",
    "FgsmUap", "FreeAT", "Liet", "Method", "NuAT", "Pgd2AT", "Pgd7AT", "PgdAT", "Sora", "Standard", "Tdat",
    "Trades", "Traits", "Yopo", "beyond_published",
]  # fmt: skip
