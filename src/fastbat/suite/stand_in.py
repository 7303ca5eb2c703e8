"""Images in place of others: another data set, or a part of one of which all is not to be had."""

from collections.abc import Callable, Sequence

from fastbat.data import DATASETS


def stand_in(dataset: str, stands_for: Sequence[str], classes: int | None, shown: Callable[[str], str] = str) -> str:
    """Return in words what the images of a training stand in for; nothing if they are what they are called.

    `stands_for` names other data sets, each perhaps with the network that it is trained with; `classes` are those that
    the images have, if known. `shown` is how a data set or a network is written.
    """
    names = ", ".join(" ".join(map(shown, each.split(" "))) for each in stands_for)
    card = DATASETS.get(dataset)
    said = [f"{shown(dataset)} for {names}"] if names else []
    if card and card.published_classes and classes and classes < card.published_classes:
        said.append(f"{classes} of the {card.published_classes} classes of {shown(dataset)}")
    return "; ".join(said)
