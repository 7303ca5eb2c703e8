"""fastbat: fast adversarial training by bi-level optimization, and honest evaluation of what it gives."""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.audit import Origin, diagnose, evaluate
    from fastbat.data import Batch
    from fastbat.errors import InputError
    from fastbat.evaluation import Evaluation
    from fastbat.methods import (
        METHODS,
        NFGSM,
        Atta,
        BackSmooth,
        ElleA,
        FastAT,
        FastATGA,
        FastBAT,
        FgsmMep,
        FgsmRsCs,
        FgsmUap,
        FreeAT,
        Liet,
        Method,
        NuAT,
        Pgd2AT,
        Pgd7AT,
        PgdAT,
        Sora,
        Standard,
        Tdat,
        Trades,
        Traits,
        Yopo,
    )  # fmt: skip
    from fastbat.models import build_model, load_model
    from fastbat.training import Run, Settings, export_model, train

__all__ = [
    "METHODS", "NFGSM", "Atta", "BackSmooth", "Batch", "ElleA", "Evaluation", "FastAT", "FastATGA", "FastBAT",
    "FgsmMep", "FgsmRsCs", "FgsmUap", "FreeAT", "InputError", "Liet", "Method", "NuAT", "Origin", "Pgd2AT",
    "Pgd7AT", "PgdAT", "Run", "Settings", "Sora", "Standard", "Tdat", "Trades", "Traits", "Yopo", "build_model",
    "diagnose", "evaluate", "export_model", "load_model", "train",
]  # fmt: skip

export_lazily(__name__)
