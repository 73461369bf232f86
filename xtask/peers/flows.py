"""Code that flows of points and of images share: affine maps, couplings, training."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from common import LOG_2PI, Optimizer, rand_like, randn, sum_rows

Mapped = tuple[Tensor, Tensor]


class Affine(nn.Module):
    """x exp(s) + t with s = c tanh a and a learned c; the parameters are all a, then all t."""

    parameters = 2

    def __init__(self):
        super().__init__()
        self.log_scale_bound = nn.Parameter(torch.ones(1))

    def scale_and_shift(self, parameters: Tensor) -> Mapped:
        raw, shift = parameters.chunk(2, 1)
        return torch.tanh(raw) * self.log_scale_bound, shift

    def forward(self, x: Tensor, parameters: Tensor) -> Mapped:
        log_scale, shift = self.scale_and_shift(parameters)
        return torch.addcmul(shift, x, log_scale.exp()), log_scale

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        log_scale, shift = self.scale_and_shift(parameters)
        return (y - shift) * torch.exp(-log_scale)


class Coupling(nn.Module):
    """Keeps the first half of the channels and moves the second; the other way round in odd layers."""

    def __init__(self, size: int, layer: int, univariate: nn.Module, net: Callable[[int, int], nn.Module]):
        super().__init__()
        self.odd = layer % 2 == 1
        self.kept = size - size // 2 if self.odd else size // 2
        self.sizes = [size - self.kept, self.kept] if self.odd else [self.kept, size - self.kept]
        # The name that gen has for the parameters of an affine map. Other maps have no parameters.
        self.affine = univariate
        self.net = net(self.kept, univariate.parameters * (size - self.kept))

    def split(self, x: Tensor) -> Mapped:
        a, b = x.split(self.sizes, 1)
        return (b, a) if self.odd else (a, b)

    def join(self, same: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, same] if self.odd else [same, moved], 1)

    def forward(self, x: Tensor) -> Mapped:
        same, rest = self.split(x)
        moved, log_slope = self.affine(rest, self.net(same))
        return self.join(same, moved), sum_rows(log_slope)

    def inverse(self, y: Tensor) -> Tensor:
        same, rest = self.split(y)
        return self.join(same, self.affine.inverse(rest, self.net(same)))


class FlowModel:
    """Maximum likelihood: in nats for points, in bits per dimension for images, whose bytes get uniform noise."""

    compiled = ["log_prob", "generate"]

    def __init__(self, network: nn.Module, config: dict, data: dict):
        image = data["shape"].get("image")
        self.images = image is not None
        self.dimensions = math.prod(image.values()) if self.images else data["shape"]["points"]["dimension"]
        self.network = network
        self.optimizer = Optimizer(network, config["optimizer"])
        self.networks = {"weights": network}
        self.optimizers = {"training.optimizer": (network, self.optimizer)}

    def log_prob(self, x: Tensor) -> Tensor:
        z, log_det = self.network(x)
        return -0.5 * sum_rows(z.square()) - 0.5 * self.dimensions * LOG_2PI + log_det

    def generate(self, z: Tensor) -> Tensor:
        return self.network.inverse(z)

    def train_step(self, x: Tensor, lr_scale: float) -> dict[str, Tensor]:
        if self.images:
            levels = torch.round((x + 1) * 127.5)
            x = ((levels + rand_like(levels)) / 256).clamp_max(1 - torch.finfo(torch.float32).eps)
            loss = -self.log_prob(x).mean() / (self.dimensions * math.log(2)) + 8
            name = "bits_per_dim"
        else:
            loss, name = -self.log_prob(x).mean(), "nll"
        norms = self.optimizer.step(loss, lr_scale)
        return {name: loss.detach()} | norms

    def sample(self, n: int) -> Tensor:
        x = self.generate(randn(n, self.dimensions))
        return torch.floor(x * 256).clamp(0, 255) / 127.5 - 1 if self.images else x
