"""A command of fastbat as a trial's process: it ends where the process that started it does, however that ended.

    python -m fastbat.suite.child train ...

That process holds the other end of this one's standard input. A system closes it with the last of its threads, so that
a killed suite leaves no training behind, which would hold its run directory.
"""

import os
import runpy
import threading

ENDED = 143  # as after SIGTERM


def end_with_the_other() -> None:
    """Wait until nobody holds the other end of standard input, and leave at once."""
    while os.read(0, 1024):
        pass
    os._exit(ENDED)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_other, daemon=True).start()
    runpy.run_module("fastbat.cli", run_name="__main__", alter_sys=True)
