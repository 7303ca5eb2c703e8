"""The names that public code gives the layers of residual networks, and what that code computes with them.

    FAST-AT         conv1, layer1.0.bn1, layer1.0.shortcut.0, bn, linear; raw shortcuts. The names, too, of N-FGSM,
                    BACKSMOOTH, FAST-BAT and RobustBench
    pytorch-cifar   the same without bn: no BatchNorm and no ReLU before the pooling; He's shortcuts. FAST-AT-GA's code
                    has these names with raw shortcuts
                    its ResNet: conv1, bn1, layer1.0.conv1, layer1.0.shortcut.0 and .1, linear
    YOPO            as its PreActResNet, the last layer as linear.fc
    TRADES          conv1, block1.layer.0.bn1, block1.layer.0.convShortcut, bn1, fc. The names, too, of RobustBench and
                    ATTA
    FAST-BAT        f.0_convolution, f.1_block.block.0.norm_act.0_normalization, f.4_normalization, linear

A state_dict says nothing of the shortcut: raw and He's have the same weights.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The names of the layers in one public code."""

    of: str
    """Whose network it is."""
    rules: tuple[tuple[str, str], ...] = ()
    """Patterns within a name of ours, and what stands there in theirs, one after another."""
    shortcut: str = "raw"
    """What that code runs; "" where there is one form."""
    last_norm: bool = True
    """Whether a BatchNorm and an activation stand in front of the pooling."""

    def names(self, own: Mapping[str, Tensor]) -> dict[str, str]:
        """Return their names by ours, of all that a file must hold."""
        needed = [name for name in own if not name.endswith("num_batches_tracked")]
        return {name: self.theirs(name) for name in needed if self.last_norm or not name.startswith("bn.")}

    def theirs(self, name: str) -> str:
        """Return their name of the weight that is `name` here."""
        for pattern, text in self.rules:
            name = re.sub(pattern, text, name)
        return name


def stages(text: str) -> tuple[tuple[str, str], ...]:
    """Return the rules that write stage 0, 1, ... as `text` with 1, 2, ... in it."""
    return tuple((rf"^stages\.{i}\.", text.format(i + 1)) for i in range(4))


PREACT = (*stages("layer{}."), (r"^stem\.", "conv1."), (r"shortcut\.", "shortcut.0."))
RESNET = (*stages("layer{}."), (r"^stem\.", "conv1."), (r"^bn\.", "bn1."))
FIRST, LATER = r"(_block\.block\.0)\.", r"(_block\.block\.[1-9]\d*)\."
FAST_BAT = (
    *stages("f.{}_block.block."), (r"^stem\.", "f.0_convolution."), (r"^bn\.", "f.4_normalization."),
    (FIRST + "bn1", r"\1.norm_act.0_normalization"), (FIRST + "conv1", r"\1.block.0_convolution"),
    (FIRST + "bn2", r"\1.block.1_normalization"), (FIRST + "conv2", r"\1.block.4_convolution"),
    (r"shortcut\.", "downsample."),
    (LATER + "bn1", r"\1.block.0_normalization"), (LATER + "conv1", r"\1.block.2_convolution"),
    (LATER + "bn2", r"\1.block.3_normalization"), (LATER + "conv2", r"\1.block.6_convolution"),
)  # fmt: skip
TRADES = (
    *stages("block{}.layer."), (r"^stem\.", "conv1."), (r"^bn\.", "bn1."), (r"shortcut\.", "convShortcut."),
    (r"^linear\.", "fc."),
)  # fmt: skip

OWN = Layout("the network itself")
PUBLIC = (
    Layout("FAST-AT's PreActResNet", PREACT),
    Layout("pytorch-cifar's ResNet", RESNET, shortcut=""),
    Layout("TRADES' WideResNet", TRADES, shortcut="preact"),
    Layout("FAST-BAT's WideResNet", FAST_BAT, shortcut="preact"),
    Layout("pytorch-cifar's PreActResNet", PREACT, shortcut="preact", last_norm=False),
    Layout("YOPO's PreActResNet", (*PREACT, (r"^linear\.", "linear.fc.")), shortcut="preact", last_norm=False),
)
