"""Flows of points in the plane, as gen-flow's `quick-flow`, `nsf`, `nsf-ar` and `maf`, written by hand.

The only optimisations are one gather over stacked knots in place of many, and `where` in place of boolean indexing.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import Mlp, sum_rows
from flows import Coupling, Mapped


class Spline(nn.Module):
    """The monotonic rational-quadratic spline (Durkan et al. 2019, section 3.1) on [-bound, bound], which is the
    identity outside.

    Takes `x: [batch, n]` and `parameters: [batch, (3 bins - 1) n]`: the widths of the bins of all entries, their
    heights, and the slopes at the inner knots, each as numbers that are softly clipped.
    """

    LOG_LEAST = math.log(1e-3)

    def __init__(self, bins: int, bound: float):
        super().__init__()
        self.bins, self.bound = bins, bound
        self.parameters = 3 * bins - 1

    def bin(self, value: Tensor, parameters: Tensor, axis: int) -> tuple[Tensor, ...]:
        """The (x, y, slope) of both ends of the bin that contains `value` on an axis."""
        parameters = parameters.unflatten(1, (self.parameters, -1))
        sizes, slopes = parameters.split([2 * self.bins, self.bins - 1], 1)
        sizes = sizes.unflatten(1, (2, self.bins))
        sizes = (sizes / (1 + (sizes * (2 / self.LOG_LEAST)).abs())).softmax(2)
        knots = F.pad(2 * self.bound * sizes.cumsum(2) - self.bound, (0, 0, 1, 0), value=-self.bound)
        slopes = (slopes / (1 + (slopes / self.LOG_LEAST).abs())).exp()
        slopes = F.pad(slopes, (0, 0, 1, 1), value=1.0)
        index = (value.unsqueeze(1) >= knots[:, axis, 1:-1]).sum(1)
        both = torch.stack([index, index + 1], 1).unsqueeze(1).expand(-1, 3, -1, -1)
        ends = torch.cat([knots, slopes.unsqueeze(1)], 1).gather(2, both)
        return ends.flatten(1, 2).unbind(1)

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


class MaskedLinear(nn.Linear):
    """A linear layer with only the weights from entries of a degree to those that may depend on it."""

    def __init__(self, mask: Tensor):
        outputs, inputs = mask.shape
        super().__init__(inputs, outputs)
        self.register_buffer("mask", mask.to(torch.get_default_dtype()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class Autoregressive(nn.Module):
    """Maps each entry with parameters from a masked network (Germain et al. 2015) of those before it; odd layers go
    backwards."""

    def __init__(self, dimension: int, layer: int, univariate: nn.Module, hidden: list[int]):
        super().__init__()
        order = torch.arange(dimension)
        self.order = (order.flip(0) if layer % 2 == 1 else order).tolist()
        self.affine = univariate
        entry = torch.tensor(self.order).argsort() + 1
        degrees = [entry, *(torch.arange(width) % (dimension - 1) + 1 for width in hidden)]
        masks = [after[:, None] >= before for before, after in zip(degrees, degrees[1:])]
        masks.append(entry.repeat(univariate.parameters)[:, None] > degrees[-1])
        self.made = nn.ModuleList(map(MaskedLinear, masks))

    def parameters_of(self, x: Tensor) -> Tensor:
        first, *others = self.made
        x = first(x)
        for layer in others:
            x = layer(F.relu(x))
        return x

    def forward(self, x: Tensor) -> Mapped:
        y, log_slope = self.affine(x, self.parameters_of(x))
        return y, sum_rows(log_slope)

    def inverse(self, y: Tensor) -> Tensor:
        x = torch.zeros_like(y)
        for entry in self.order:
            parameters = self.parameters_of(x).unflatten(1, (self.affine.parameters, -1))
            x[:, entry, None] = self.affine.inverse(y[:, entry, None], parameters[..., entry])
        return x


class Standardise(nn.Module):
    def __init__(self, dimension: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("std", torch.ones(dimension))


class PointFlow(nn.Module):
    """Standardisation, then layers, which gen registers under `name`."""

    def __init__(self, data: dict, name: str, layers: list[nn.Module]):
        super().__init__()
        self.standardise = Standardise(dimension(data))
        self.layers = layers
        self.add_module(name, nn.ModuleList(layers))

    def forward(self, x: Tensor) -> Mapped:
        x = (x - self.standardise.mean) / self.standardise.std
        log_det = -self.standardise.std.log().sum()
        for layer in self.layers:
            x, layer_log_det = layer(x)
            log_det = log_det + layer_log_det
        return x, log_det

    def inverse(self, z: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return torch.addcmul(self.standardise.mean, z, self.standardise.std)


def dimension(data: dict) -> int:
    found = data["shape"]["points"]["dimension"]
    # With more entries, gen permutes them between layers.
    assert found == 2
    return found


def spline(config: dict) -> Spline:
    return Spline(config["bins"], config["bound"])


def couplings(config: dict, data: dict, count: int, univariate) -> PointFlow:
    """A flow of couplings with perceptrons; `univariate()` makes the map of each."""
    size = dimension(data)
    net = lambda inputs, outputs: Mlp([inputs, *config["hidden"], outputs], F.relu)
    return PointFlow(data, "couplings", [Coupling(size, i, univariate(), net) for i in range(count)])


def autoregressive(config: dict, data: dict, univariate) -> PointFlow:
    """A flow of autoregressive layers; `univariate()` makes the map of each."""
    size = dimension(data)
    layers = [Autoregressive(size, i, univariate(), config["hidden"]) for i in range(config["transforms"])]
    return PointFlow(data, "transforms", layers)
