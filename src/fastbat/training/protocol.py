"""Where the paper's text and its released code differ; what a protocol says of the settings that the user leaves open.

                                     paper                                  released
    momentum at the peak rate        0.9, constant (Sec. 5.1)               0.8 (PyTorch's CyclicLR, its default)
    lambda above eps 8               255/2500 at eps 16 (Sec. 5.1)          255/2000
    lambda at eps 2                  255/3000 (App. C.1)                    255/5000
    attack that selects the epoch    not stated; here PGD-10-1              PGD-50-10
    images that select the epoch     not stated; here the first 1,000       all that are set aside
    Tiny-ImageNet, set aside         a tenth of the training images         half of the official validation images,
                                     (Table 10)                             of each class; tested on the other half

On ImageNet both follow FAST-AT's published recipe (App. C.1), which is the data set's own in `fastbat.data.registry`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Protocol:
    """Values for settings that are left open; the names are those of Settings. Methods have their own."""

    momentum_at_peak: float | None  # None: constant
    select_steps: int
    select_restarts: int
    select_limit: int  # 0: all
    validation: Mapping[str, str] = field(default_factory=dict)  # by data set; "train" for the others


PROTOCOLS = {
    "paper": Protocol(None, 10, 1, 1000),
    "released": Protocol(0.8, 50, 10, 0, {"tiny-imagenet": "test"}),
}
