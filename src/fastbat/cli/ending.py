"""SIGTERM, as a scheduler sends it, ends a command as Ctrl-C does: in a line, with exit status 143."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise Terminated in the block, unless something else handles it.

    Not in a process of torchrun, which may wait for another one where no handler of Python interrupts it.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL or "TORCHELASTIC_RUN_ID" in os.environ:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def terminate(number: int, _: FrameType | None) -> None:
    """Raise Terminated."""
    raise Terminated
