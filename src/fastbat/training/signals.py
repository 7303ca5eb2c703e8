"""SIGINT (Ctrl-C) and SIGTERM (a scheduler's polite end): noted, so that a training ends after the step it is in."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from torch import distributed

ENDING = (signal.SIGINT, signal.SIGTERM)
TRIAL = "FASTBAT_TRIAL"  # in the environment of a process that a suite has started


class Signals:
    """The first signal that came; within `at_once` one ends the block, as KeyboardInterrupt."""

    def __init__(self) -> None:
        self.noted: int | None = None
        self.may_raise = False

    def note(self, number: int) -> None:
        """Remember that a signal came."""
        self.noted = self.noted or number
        if self.may_raise:
            self.may_raise = False
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal, also one that came before, end the block: for work that is made again on resume."""
        self.may_raise = True
        try:
            if self.noted:
                raise KeyboardInterrupt
            yield
        finally:
            self.may_raise = False


@contextmanager
def noted_signals() -> Iterator[Signals]:
    """Note within the block the first of each of these signals; a second one does what it did before the block.

    Under torchrun and in a suite a second one does nothing: a scheduler signals all processes, and these pass their own
    signal on. Signals that are ignored stay so, and outside of the main thread Python lets nobody handle them.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {int(number): signal.getsignal(number) for number in ENDING}
    handled = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]

    def note(number: int, _: FrameType | None) -> None:
        if not (distributed.is_torchelastic_launched() or TRIAL in os.environ):
            signal.signal(number, before[number])
        signals.note(number)

    for number in handled:
        signal.signal(number, note)
    try:
        yield signals
    finally:
        for number in handled:
            signal.signal(number, before[number])
