"""RealNVP (Dinh et al. 2017), as gen-flow's `realnvp`.

Activation normalisation starts from data there; here it is loaded as it has started.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import LOG_2PI, Mlp, Optimizer, rand_like, randn, sum_rows

Mapped = tuple[Tensor, Tensor]


class ActNorm(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialised", torch.tensor(0))

    def forward(self, x: Tensor) -> Mapped:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        y = torch.addcmul(self.shift.view(shape), x, self.log_scale.exp().view(shape))
        return y, self.log_scale.sum() * math.prod(x.shape[2:])

    def inverse(self, y: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (y.dim() - 2)
        return (y - self.shift.view(shape)) * torch.exp(-self.log_scale).view(shape)


class Conv1x1(nn.Module):
    """A linear map of the channels by its LU decomposition (Kingma & Dhariwal 2018)."""

    def __init__(self, channels: int):
        super().__init__()
        self.lower = nn.Parameter(torch.zeros(channels, channels))
        self.upper = nn.Parameter(torch.zeros(channels, channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("permutation", torch.eye(channels))
        self.register_buffer("sign", torch.ones(channels))
        self.register_buffer("identity", torch.eye(channels), persistent=False)

    def factors(self) -> tuple[Tensor, Tensor]:
        lower = self.lower.tril(-1) + self.identity
        return lower, self.upper.triu(1) + torch.diag(self.sign * self.log_scale.exp())

    def forward(self, x: Tensor) -> Mapped:
        lower, upper = self.factors()
        weight = self.permutation @ lower @ upper
        return F.conv2d(x, weight[:, :, None, None]), self.log_scale.sum() * math.prod(x.shape[2:])

    def inverse(self, y: Tensor) -> Tensor:
        lower, upper = self.factors()
        weight = torch.linalg.solve_triangular(lower, self.permutation.T, upper=False, unitriangular=True)
        weight = torch.linalg.solve_triangular(upper, weight, upper=True)
        return F.conv2d(y, weight[:, :, None, None])


class Affine(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_scale_bound = nn.Parameter(torch.ones(1))

    def forward(self, parameters: Tensor) -> Mapped:
        raw, shift = parameters.chunk(2, 1)
        return torch.tanh(raw) * self.log_scale_bound, shift


class Coupling(nn.Module):
    """Keeps the first half of the channels and moves the others, or the other way round in odd layers."""

    def __init__(self, size: int, layer: int, net):
        super().__init__()
        self.odd = layer % 2 == 1
        self.kept = size - size // 2 if self.odd else size // 2
        self.sizes = [size - self.kept, self.kept] if self.odd else [self.kept, size - self.kept]
        self.affine = Affine()
        self.net = net(self.kept, 2 * (size - self.kept))

    def split(self, x: Tensor) -> Mapped:
        a, b = x.split(self.sizes, 1)
        return (b, a) if self.odd else (a, b)

    def join(self, same: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, same] if self.odd else [same, moved], 1)

    def forward(self, x: Tensor) -> Mapped:
        same, rest = self.split(x)
        log_scale, shift = self.affine(self.net(same))
        return self.join(same, torch.addcmul(shift, rest, log_scale.exp())), sum_rows(log_scale)

    def inverse(self, y: Tensor) -> Tensor:
        same, rest = self.split(y)
        log_scale, shift = self.affine(self.net(same))
        return self.join(same, (rest - shift) * torch.exp(-log_scale))


class ConvNet(nn.Module):
    def __init__(self, inputs: int, size: tuple[int, int], width: int, blocks: int, outputs: int):
        super().__init__()
        self.input = nn.Conv2d(inputs, width, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(width, *size))
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)])
            for _ in range(blocks)
        )
        self.output = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.input(x) + self.position
        for first, second in self.blocks:
            h = h + second(F.relu(first(F.relu(h))))
        return self.output(F.relu(h))


class DenseNet(nn.Module):
    def __init__(self, inputs: int, size: tuple[int, int], width: int, outputs: int):
        super().__init__()
        positions = size[0] * size[1]
        self.shape = (outputs, *size)
        self.skip = nn.Linear(inputs * positions, outputs * positions)
        self.mlp = Mlp([inputs * positions, width, outputs * positions], F.relu)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return (self.skip(x) + self.mlp(x)).view(-1, *self.shape)


class Step(Coupling):
    """Activation normalisation, a mixing of the channels, a coupling."""

    def __init__(self, size: int, layer: int, net):
        super().__init__(size, layer, net)
        self.actnorm = ActNorm(size)
        self.mixing = Conv1x1(size)

    def forward(self, x: Tensor) -> Mapped:
        x, first = self.actnorm(x)
        x, second = self.mixing(x)
        x, third = super().forward(x)
        return x, first + second + third

    def inverse(self, y: Tensor) -> Tensor:
        return self.actnorm.inverse(self.mixing.inverse(super().inverse(y)))


class Scale(nn.Module):
    def __init__(self, config: dict, channels: int, size: tuple[int, int], index: int):
        super().__init__()
        width, blocks = config["width"] << index, config["blocks"]
        conv = lambda inputs, outputs: ConvNet(inputs, size, width, blocks, outputs)
        dense = lambda inputs, outputs: DenseNet(inputs, size, config["dense_width"], outputs)
        self.couplings = nn.ModuleList(Step(channels, i, conv) for i in range(config["couplings"]))
        last = index + 1 == config["scales"]
        count = config["dense_couplings"] if last else 0
        self.dense = nn.ModuleList(Step(channels, i, dense) for i in range(count))

    def forward(self, x: Tensor) -> Mapped:
        log_det = 0
        for step in [*self.couplings, *self.dense]:
            x, step_log_det = step(x)
            log_det = log_det + step_log_det
        return x, log_det

    def inverse(self, y: Tensor) -> Tensor:
        for step in [*self.couplings, *self.dense][::-1]:
            y = step.inverse(y)
        return y


class ImageFlow(nn.Module):
    """Logit, standardisation of each pixel, then the scales; half of the channels leave after each but the last."""

    def __init__(self, config: dict, image: dict):
        super().__init__()
        channels, height, width = image["channels"], image["height"], image["width"]
        self.alpha = config["alpha"]
        self.pixels = ActNorm(channels * height * width)
        self.scales = nn.ModuleList()
        self.shapes = []
        for index in range(config["scales"]):
            channels, height, width = 4 * channels, height // 2, width // 2
            self.scales.append(Scale(config, channels, (height, width), index))
            self.shapes.append((channels, height, width))
            channels //= 2

    def forward(self, x: Tensor) -> Mapped:
        inner = 1 - 2 * self.alpha
        log_p, log_q = torch.log(self.alpha + inner * x), torch.log(self.alpha + inner * (1 - x))
        log_det = sum_rows(math.log(inner) - log_p - log_q)
        y, pixels_log_det = self.pixels((log_p - log_q).flatten(1))
        log_det = log_det + pixels_log_det
        y, latents = y.view_as(x), []
        for scale in self.scales:
            y, scale_log_det = scale(F.pixel_unshuffle(y, 2))
            log_det = log_det + scale_log_det
            if scale is not self.scales[-1]:
                y, factored = y.split([y.shape[1] // 2, y.shape[1] - y.shape[1] // 2], 1)
                latents.append(factored.flatten(1))
        return torch.cat([y.flatten(1), *latents[::-1]], 1), log_det

    def inverse(self, z: Tensor) -> Tensor:
        y = None
        for scale, (channels, height, width) in zip(reversed(self.scales), reversed(self.shapes)):
            part = channels if y is None else channels - channels // 2
            latent, z = z.split([part * height * width, z.shape[1] - part * height * width], 1)
            latent = latent.view(-1, part, height, width)
            y = F.pixel_shuffle(scale.inverse(latent if y is None else torch.cat([y, latent], 1)), 2)
        x = self.pixels.inverse(y.flatten(1)).view_as(y)
        return (x.sigmoid() - self.alpha) / (1 - 2 * self.alpha)


class Standardise(nn.Module):
    def __init__(self, dimension: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("std", torch.ones(dimension))


class PointFlow(nn.Module):
    def __init__(self, config: dict, dimension: int):
        super().__init__()
        assert dimension == 2
        self.standardise = Standardise(dimension)
        net = lambda inputs, outputs: Mlp([inputs, *config["hidden"], outputs], F.relu)
        self.couplings = nn.ModuleList(Coupling(dimension, i, net) for i in range(config["couplings"]))

    def forward(self, x: Tensor) -> Mapped:
        x = (x - self.standardise.mean) / self.standardise.std
        log_det = -self.standardise.std.log().sum()
        for coupling in self.couplings:
            x, coupling_log_det = coupling(x)
            log_det = log_det + coupling_log_det
        return x, log_det

    def inverse(self, z: Tensor) -> Tensor:
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z)
        return torch.addcmul(self.standardise.mean, z, self.standardise.std)


class Model:
    compiled = ["log_prob", "generate"]

    def __init__(self, config: dict, data: dict):
        image = data["shape"].get("image")
        self.images = image is not None
        if self.images:
            self.dimensions = image["channels"] * image["height"] * image["width"]
            self.network = ImageFlow(config, image)
        else:
            self.dimensions = data["shape"]["points"]["dimension"]
            self.network = PointFlow(config, self.dimensions)
        self.optimizer = Optimizer(self.network, config["optimizer"])
        self.networks = {"weights": self.network}
        self.optimizers = {"training": (self.network, self.optimizer)}

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
