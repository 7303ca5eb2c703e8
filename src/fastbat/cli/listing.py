"""fastbat list: what there is, by name."""

import json
from typing import Any, Literal

from docstring_parser import parse_from_object

from fastbat.console import print_rows
from fastbat.data import DATASETS
from fastbat.evaluation.request import ATTACKS
from fastbat.methods import METHODS
from fastbat.models import EXTERNAL, MODELS, Architecture


def list_command(what: Literal["methods", "models", "datasets", "attacks"], *, json: bool = False) -> None:
    """Name what there is.

    Parameters
    ----------
    what
        methods, models, datasets or attacks.
    json
        Print one JSON object, name to description, instead of a table.
    """
    entries = {
        "methods": {name: parse_from_object(cls).short_description or "" for name, cls in METHODS.items()},
        "models": {name: describe_model(card) for name, card in MODELS.items()} | EXTERNAL,
        "datasets": {name: card.source for name, card in DATASETS.items()},
        "attacks": ATTACKS,
    }[what]
    if json:
        print_json(entries)
        return
    print_rows(("name", "what it is"), entries.items(), text=("what it is",))


def describe_model(card: Architecture) -> str:
    """Return what a network is and the settings it takes."""
    return f"{card.what}; {', '.join(f'{name} {value}' for name, value in card.settings.items())}"


def print_json(value: dict[str, Any]) -> None:
    """Print one line of JSON on stdout."""
    print(json.dumps(value))
