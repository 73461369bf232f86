"""RealNVP (Dinh et al. 2017), as gen-flow's `quick-flow`.

There, activation normalisation is initialised from data; here its state is loaded.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import Mlp, sum_rows
from flows import Affine, Coupling, FlowModel, Mapped
from points import couplings


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
        super().__init__(size, layer, Affine(), net)
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
    """Logit, standardisation of pixels, scales; half of the channels are factored out after each scale but the last."""

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


class Model(FlowModel):
    def __init__(self, config: dict, data: dict):
        image = data["shape"].get("image")
        if image is None:
            network = couplings(config, data, config["couplings"], Affine)
        else:
            network = ImageFlow(config, image)
        super().__init__(network, config, data)
