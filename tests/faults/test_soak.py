"""Two hundred segments of one training, each ended by a signal and resumed in the same process: no memory is kept."""

import gc
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fastbat.errors import Stopped
from fastbat.methods import METHODS
from fastbat.training import Settings, train
from fastbat.training import epoch as epochs

SEGMENTS = 200 if int(os.environ.get("FAULTS", "0")) >= 10 else 0


def resident():
    """Return the memory of this process, MiB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not SEGMENTS, reason="a minute of work; make faults")
def test_two_hundred_resumed_segments_keep_no_memory(tmp_path, monkeypatch):
    update, sizes = epochs.update, []

    def stopped(*how):
        found = update(*how)
        signal.raise_signal(signal.SIGTERM)
        return found

    monkeypatch.setattr(epochs, "update", stopped)
    settings = Settings(epochs=1000, width=4, train_limit=100, batch_size=50, select_limit=20, select_steps=1)
    for segment in range(SEGMENTS):
        with pytest.raises(Stopped):
            train(METHODS["atta"](eps=0.15), replace(settings, ema=0.9), tmp_path / "run", resume=segment > 0)
        sizes.append(resident())
    early, late = sorted(sizes[20:60])[20], sorted(sizes[-40:])[20]
    print(f"memory: {early:.0f} MiB in segments 20 to 60, {late:.0f} MiB in the last 40 of {SEGMENTS}")
    assert late - early < 10
