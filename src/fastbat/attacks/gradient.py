"""g(d) = grad_d of the summed cross-entropy = -grad_d l_atk, with l_atk = -l_tr (Sec. 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def input_gradient(
    model: nn.Module,
    x: Tensor,  # (B, C, H, W) in [0, 1]
    y: Tensor,  # (B,) labels
    delta: Tensor,  # (B, C, H, W)
    *,
    create_graph: bool = False,
) -> Tensor:
    """Return g(delta), shape of x: the direction in which an attack climbs.

    The sum over the batch, not the mean, so that each image's gradient is its own and an unsigned step has
    the paper's size. With `create_graph` the result can be differentiated with respect to the weights.
    """
    delta = delta.detach().requires_grad_()
    loss = F.cross_entropy(model(x + delta), y, reduction="sum")
    return torch.autograd.grad(loss, delta, create_graph=create_graph)[0]
