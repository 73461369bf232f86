"""Normalizing flows of points without a library, as one writes them by hand: affine and spline maps, coupling and
autoregressive layers.

They are what a library's own machinery is held against. Where a gather over stacked knots takes the place of many, and
`where` that of boolean indexing, nothing else is done for speed.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import LOG_2PI, Mlp, randn, sum_rows

Mapped = tuple[Tensor, Tensor]


class Affine:
    """x exp(s) + t, with |s| < 2. Takes `x: [batch, n]` and `parameters: [batch, n, 2]`."""

    BOUND = 2.0
    parameters = 2

    def forward(self, x: Tensor, parameters: Tensor) -> Mapped:
        raw, shift = parameters.unbind(-1)
        log_scale = torch.tanh(raw / self.BOUND) * self.BOUND
        return torch.addcmul(shift, x, log_scale.exp()), log_scale

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        raw, shift = parameters.unbind(-1)
        return (y - shift) * torch.exp(torch.tanh(raw / self.BOUND) * -self.BOUND)


class Spline:
    """The monotonic rational-quadratic spline (Durkan et al. 2019, section 3.1) on [-bound, bound].

    Outside it is the identity. Takes `x: [batch, n]` and `parameters: [batch, n, 3 bins - 1]`: widths and heights of the
    bins before their softmax, and the slopes at the inner knots before their softplus.
    """

    LEAST = 1e-3
    # Its softplus, with the least slope, is 1.
    SLOPE_OFFSET = math.log(math.expm1(1 - LEAST))

    def __init__(self, bins: int, bound: float):
        self.bins, self.bound = bins, bound
        self.parameters = 3 * bins - 1

    def bin(self, value: Tensor, parameters: Tensor, axis: int) -> tuple[Tensor, ...]:
        """Of the bin in which `value` lies on an axis: both ends' (x, y, slope)."""
        sizes, slopes = parameters.split([2 * self.bins, self.bins - 1], -1)
        sizes = sizes.unflatten(-1, (2, self.bins)).softmax(-1)
        sizes = self.LEAST + (1 - self.LEAST * self.bins) * sizes
        knots = F.pad(2 * self.bound * sizes.cumsum(-1) - self.bound, (1, 0), value=-self.bound)
        slopes = F.pad(F.softplus(slopes + self.SLOPE_OFFSET) + self.LEAST, (1, 1), value=1.0)
        index = (value.unsqueeze(-1) >= knots[..., axis, 1:-1]).sum(-1)
        both = torch.stack([index, index + 1], -1).unsqueeze(-2).expand(-1, -1, 3, 2)
        ends = torch.cat([knots, slopes.unsqueeze(-2)], -2).gather(-1, both)
        return ends.flatten(-2).unbind(-1)

    def forward(self, x: Tensor, parameters: Tensor) -> Mapped:
        inner = x.clamp(-self.bound, self.bound)
        x0, x1, y0, y1, d0, d1 = self.bin(inner, parameters, 0)
        s = (y1 - y0) / (x1 - x0)
        xi = (inner - x0) / (x1 - x0)
        rest = xi * (1 - xi)
        denominator = s + (d0 + d1 - 2 * s) * rest
        y = y0 + (y1 - y0) * (s * xi.square() + d0 * rest) / denominator
        numerator = s.square() * (d1 * xi.square() + 2 * s * rest + d0 * (1 - xi).square())
        log_slope = numerator.log() - 2 * denominator.log()
        inside = inner == x
        return torch.where(inside, y, x), torch.where(inside, log_slope, 0.0)

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        inner = y.clamp(-self.bound, self.bound)
        x0, x1, y0, y1, d0, d1 = self.bin(inner, parameters, 1)
        s = (y1 - y0) / (x1 - x0)
        moved = (inner - y0) * (d0 + d1 - 2 * s)
        a = (y1 - y0) * (s - d0) + moved
        b = (y1 - y0) * d0 - moved
        c = -s * (inner - y0)
        xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp_min(0).sqrt())
        return torch.where(inner == y, x0 + xi * (x1 - x0), y)


class Coupling(nn.Module):
    """Moves the second half of the entries by a network of the first, or the other way round in odd layers."""

    def __init__(self, dimension: int, layer: int, hidden: list[int], univariate: Affine | Spline):
        super().__init__()
        self.odd = layer % 2 == 1
        self.sizes = [dimension // 2, dimension - dimension // 2]
        kept, moved = reversed(self.sizes) if self.odd else self.sizes
        self.univariate = univariate
        self.net = Mlp([kept, *hidden, moved * univariate.parameters], F.relu)

    def split(self, x: Tensor) -> Mapped:
        a, b = x.split(self.sizes, 1)
        return (b, a) if self.odd else (a, b)

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, kept] if self.odd else [kept, moved], 1)

    def parameters_of(self, kept: Tensor) -> Tensor:
        return self.net(kept).unflatten(1, (-1, self.univariate.parameters))

    def forward(self, x: Tensor) -> Mapped:
        kept, moved = self.split(x)
        moved, log_slope = self.univariate.forward(moved, self.parameters_of(kept))
        return self.join(kept, moved), sum_rows(log_slope)

    def inverse(self, y: Tensor) -> Tensor:
        kept, moved = self.split(y)
        return self.join(kept, self.univariate.inverse(moved, self.parameters_of(kept)))


class MaskedLinear(nn.Linear):
    """A linear layer that keeps the weights from entries of a degree to those that may see it."""

    def __init__(self, mask: Tensor):
        outputs, inputs = mask.shape
        super().__init__(inputs, outputs)
        self.register_buffer("mask", mask.float())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class Autoregressive(nn.Module):
    """Moves each entry by a masked network (Germain et al. 2015) of those before it, backwards in odd layers."""

    def __init__(self, dimension: int, layer: int, hidden: list[int], univariate: Affine | Spline):
        super().__init__()
        order = torch.arange(dimension)
        self.order = (order.flip(0) if layer % 2 == 1 else order).tolist()
        self.univariate = univariate
        entry = torch.tensor(self.order).argsort() + 1
        degrees = [entry, *(torch.arange(width) % (dimension - 1) + 1 for width in hidden)]
        masks = [after[:, None] >= before for before, after in zip(degrees, degrees[1:])]
        masks.append(entry.repeat_interleave(univariate.parameters)[:, None] > degrees[-1])
        layers = [MaskedLinear(mask) for mask in masks]
        activated = [module for layer in layers for module in (layer, nn.ReLU())]
        self.net = nn.Sequential(*activated[:-1])

    def parameters_of(self, x: Tensor) -> Tensor:
        return self.net(x).unflatten(1, (-1, self.univariate.parameters))

    def forward(self, x: Tensor) -> Mapped:
        y, log_slope = self.univariate.forward(x, self.parameters_of(x))
        return y, sum_rows(log_slope)

    def inverse(self, y: Tensor) -> Tensor:
        x = torch.zeros_like(y)
        for entry in self.order:
            this = slice(entry, entry + 1)
            x[:, this] = self.univariate.inverse(y[:, this], self.parameters_of(x)[:, this])
        return x


class Flow(nn.Module):
    """Layers from data to a standard normal distribution."""

    def __init__(self, dimension: int, layers: list[nn.Module]):
        super().__init__()
        self.dimension = dimension
        self.layers = nn.ModuleList(layers)

    def log_prob(self, x: Tensor) -> Tensor:
        log_det = 0
        for layer in self.layers:
            x, layer_log_det = layer(x)
            log_det = log_det + layer_log_det
        return log_det - 0.5 * (sum_rows(x.square()) + self.dimension * LOG_2PI)

    def sample(self, n: int) -> Tensor:
        x = randn(n, self.dimension)
        for layer in reversed(self.layers):
            x = layer.inverse(x)
        return x
