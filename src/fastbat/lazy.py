"""Imports that wait until they are needed: torch takes seconds, and a refused command line should not.

A module that command lines are parsed and checked with takes torch from here, where an attribute imports it:

    from __future__ import annotations      # so that an annotation does not

    from fastbat.lazy import F, Tensor, nn, torch

`lazy_function` does the same for a function. A package imports what it exports when that is asked for:

    if TYPE_CHECKING:
        from fastbat.data.batch import Batch, View

    export_lazily(__name__)
"""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["F", "Tensor", "export_lazily", "lazy_function", "nn", "np", "torch"]


class LazyModule:
    """The module `name`, imported when an attribute of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F
else:
    torch, nn, F, np = map(LazyModule, ("torch", "torch.nn", "torch.nn.functional", "numpy"))
    Tensor = Any  # for annotations alone; isinstance() takes torch.Tensor


def lazy_function(module: str, name: str) -> Callable[..., Any]:
    """Return a function that imports the function `name` of `module` when it is called, and calls it."""
    return lambda *args, **settings: getattr(import_module(module), name)(*args, **settings)


class LazyPackage(ModuleType):
    """A package (PEP 562) that imports what it exports when that is asked for."""

    _exports: dict[str, str]  # module by name

    def __getattr__(self, name: str) -> Any:
        if name not in self._exports:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(self._exports[name]), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a module that is called as an export is, such as `evaluate`, does not hide it."""
        if not (isinstance(value, ModuleType) and name in self._exports):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._exports})


def export_lazily(package: str) -> None:
    """Let `package` export what its `if TYPE_CHECKING:` block imports, each when it is asked for."""
    module = sys.modules[package]
    assert module.__file__ is not None
    source = Path(module.__file__).read_text(encoding="utf-8")
    (block,) = [each for each in ast.parse(source).body if isinstance(each, ast.If)]
    imports = [each for each in block.body if isinstance(each, ast.ImportFrom)]
    exports = {alias.name: str(each.module) for each in imports for alias in each.names}
    module.__dict__["_exports"] = exports
    module.__class__ = LazyPackage
