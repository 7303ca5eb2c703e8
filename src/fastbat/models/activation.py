"""The activations of the paper (Table 11): ReLU, Softplus with beta 10, Swish."""

from torch import Tensor, nn
from torch.nn import functional as F


class Softplus(nn.Module):
    """log(1 + exp(10 x)) / 10 (Table 11)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it elementwise."""
        return F.softplus(x, beta=10)


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "softplus": Softplus, "swish": nn.SiLU}
