"""What a command line says that the parser would take for something else, or answer in no helpful line."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any

from fastbat.errors import InputError

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def peek(tokens: Sequence[str], flag: str) -> str | None:
    """Return what `flag` is set to, ahead of the parsing proper."""
    for token, following in zip_longest(tokens, tokens[1:], fillvalue=""):
        if token == flag:
            return following
        if token.startswith(f"{flag}="):
            return token.removeprefix(f"{flag}=")
    return None


def in_grey_levels(tokens: Sequence[str]) -> list[str]:
    """Return the command line with the budgets that are written as fractions, 8/255, in grey levels, 8."""
    return [
        grey_levels(token) if flag == "--eps" or token.startswith("--eps=") else token
        for flag, token in pairwise(["", *tokens])
    ]


def grey_levels(budgets: str) -> str:
    """Return comma-separated budgets, of which some may be written as 8/255, in grey levels."""
    return re.sub(r"\s*/\s*255(\.0*)?(?=\s*(,|$))", "", budgets)


def flags_of(arguments: Iterable[Any]) -> list[str]:
    """Return the flags, --NAME, among the arguments of a command."""
    return [name for argument in arguments if argument.parse for name in argument.names if name.startswith("--")]


def refuse_repeated(tokens: Sequence[str]) -> None:
    """Raise InputError where a flag is given twice."""
    flags = [token.partition("=")[0] for token in tokens if token.startswith("--")]
    for flag in flags:
        if flags.count(flag) > 1:
            raise InputError(f"{flag} is given twice; give it once")


def refuse_switches(tokens: Sequence[str], arguments: Iterable[Any]) -> None:
    """Raise InputError where a switch has its value after a space, or --no- in front."""
    switches = flags_of(each for each in arguments if each.hint in (bool, bool | None))
    for token, following in pairwise([*tokens, ""]):
        if token in switches and following.lower() in TRUE + FALSE:
            value = "true" if following.lower() in TRUE else "false"
            raise InputError(f"{token} is a switch, which takes no value after a space; write {token}={value}")
        if token.startswith("--no-") and f"--{token[5:]}" in switches:
            raise InputError(f"{token} is not a flag; write --{token[5:]}=false")


def refuse_fractions(tokens: Sequence[str], config: Mapping[str, Any], arguments: Iterable[Any]) -> None:
    """Raise InputError where a whole number is given as a fraction, which the parser would round."""
    for flag in flags_of(each for each in arguments if each.hint in (int, int | None)):
        name = flag.removeprefix("--").replace("-", "_")
        value = peek(tokens, flag) or config.get(name)
        if "." in str(value):
            raise InputError(f"{name} is {value}; it must be a whole number")
