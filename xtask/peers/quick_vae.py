"""The variational autoencoder (Kingma & Welling 2014) for images, as gen-vae's `quick-vae`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import LOG_2PI, Mlp, Optimizer, gaussian_log_prob, randn, sum_rows

HALF_BIN = 1 / 255
LOWEST_LOG_SCALE = -7.0
LOG_SCALE_BOUND = 2.0


def pyramid(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """The sizes of the feature maps, each half of the one before, rounded up."""
    sizes = [(height, width)]
    for _ in range(levels):
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


class ConvEncoder(nn.Module):
    def __init__(self, image: dict, widths: list[int], outputs: int):
        super().__init__()
        channels = [image["channels"], *widths]
        pairs = zip(channels, channels[1:])
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        height, width = pyramid(image["height"], image["width"], len(widths))[-1]
        self.head = nn.Linear(widths[-1] * height * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = F.relu(stage(x))
        return self.head(x.flatten(1))


class ConvDecoder(nn.Module):
    def __init__(self, latent: int, widths: list[int], image: dict, per_value: int):
        super().__init__()
        self.sizes = pyramid(image["height"], image["width"], len(widths))[::-1]
        channels = [*widths[::-1], image["channels"] * per_value]
        self.first = (channels[0], *self.sizes[0])
        self.head = nn.Linear(latent, channels[0] * self.sizes[0][0] * self.sizes[0][1])
        pairs = zip(channels, channels[1:])
        self.stages = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in pairs)

    def forward(self, z: Tensor) -> Tensor:
        x = self.head(z).view(-1, *self.first)
        for stage, (height, width) in zip(self.stages, self.sizes[1:]):
            x = stage(F.relu(x))[:, :, :height, :width]
        return x


class Coupling(Mlp):
    """An affine coupling layer that is its own network."""

    def __init__(self, latent: int, width: int, swapped: bool):
        self.sizes = [latent // 2, latent - latent // 2]
        fixed, moved = self.sizes[::-1] if swapped else self.sizes
        super().__init__([fixed, width, width, 2 * moved], F.relu)
        self.swapped = swapped

    def scale_and_shift(self, fixed: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self(fixed).chunk(2, 1)
        return torch.tanh(raw / LOG_SCALE_BOUND) * LOG_SCALE_BOUND, shift

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        a, b = z.split(self.sizes, 1)
        return (b, a) if self.swapped else (a, b)

    def join(self, fixed: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, fixed] if self.swapped else [fixed, moved], 1)

    def normalise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        fixed, x = self.split(z)
        s, t = self.scale_and_shift(fixed)
        return self.join(fixed, x * s.exp() + t), s.sum(1)

    def generate(self, noise: Tensor) -> Tensor:
        fixed, y = self.split(noise)
        s, t = self.scale_and_shift(fixed)
        return self.join(fixed, (y - t) * torch.exp(-s))


def discretised_logistic_log_prob(mean: Tensor, log_scale: Tensor, x: Tensor) -> Tensor:
    lowest, highest = x < HALF_BIN - 1, x > 1 - HALF_BIN
    precision = torch.exp(-log_scale)
    below_upper = F.logsigmoid((x - mean + HALF_BIN) * precision).masked_fill(highest, 0)
    above_lower = F.logsigmoid((mean - x + HALF_BIN) * precision).masked_fill(lowest, 0)
    width = torch.log(-torch.expm1(-2 * HALF_BIN * precision))
    inner = width.expand_as(x).masked_fill(lowest | highest, 0)
    return sum_rows(below_upper + above_lower + inner)


class Network(nn.Module):
    def __init__(self, config: dict, data: dict):
        super().__init__()
        assert not config["predict_scale"]
        image, widths, latent = data["shape"]["image"], config["widths"], config["latent_dim"]
        self.shape = (image["channels"], image["height"], image["width"])
        if config["network"] == "convolutional":
            self.encoder = ConvEncoder(image, widths, 2 * latent)
            self.decoder = ConvDecoder(latent, widths, image, 1)
        else:
            values = image["channels"] * image["height"] * image["width"]
            self.encoder = Mlp([values, *widths, 2 * latent], F.silu)
            self.decoder = Mlp([latent, *widths[::-1], values], F.silu)
        self.mlp = config["network"] == "mlp"
        width = max(4 * latent, 64)
        self.prior = nn.ModuleList(Coupling(latent, width, i % 2 == 1) for i in range(config["prior"].get("layers", 0)))
        self.bernoulli = config["likelihood"] == "bernoulli"
        if not self.bernoulli:
            assert config["likelihood"] == "discretised-logistic"
            self.log_scale = nn.Parameter(torch.zeros(1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.encoder(x.flatten(1) if self.mlp else x).chunk(2, 1)
        return mean, log_var.clamp(-30, 20)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).view(-1, *self.shape)

    def log_likelihood(self, z: Tensor, x: Tensor) -> Tensor:
        location = self.decode(z)
        if self.bernoulli:
            target = (x + 1) * 0.5
            return -sum_rows(F.binary_cross_entropy_with_logits(location, target, reduction="none"))
        return discretised_logistic_log_prob(location, self.log_scale.clamp_min(LOWEST_LOG_SCALE), x)

    def kl(self, mean: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        if not self.prior:
            return 0.5 * sum_rows(mean.square() + log_var.exp() - log_var - 1)
        log_det = torch.zeros(len(z))
        for layer in self.prior:
            z, layer_log_det = layer.normalise(z)
            log_det = log_det + layer_log_det
        zero = torch.zeros(1)
        entropy = 0.5 * sum_rows(log_var + (1 + LOG_2PI))
        return -entropy - (log_det + gaussian_log_prob(zero, zero, z))


class Model:
    compiled = ["loss", "generate"]

    def __init__(self, config: dict, data: dict):
        self.latent = config["latent_dim"]
        self.beta = config["beta"]
        self.network = Network(config, data)
        self.optimizer = Optimizer(self.network, config["optimizer"])
        self.networks = {"weights": self.network}
        self.optimizers = {"training.optimizer": (self.network, self.optimizer)}

    def loss(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.network.encode(x)
        z = mean + torch.exp(0.5 * log_var) * noise
        reconstruction = -self.network.log_likelihood(z, x).mean()
        kl = self.network.kl(mean, log_var, z).mean()
        return reconstruction + self.beta * kl, reconstruction, kl

    def generate(self, noise: Tensor) -> Tensor:
        z = noise
        for layer in reversed(self.network.prior):
            z = layer.generate(z)
        location = self.network.decode(z)
        return location.sigmoid() * 2 - 1 if self.network.bernoulli else location.clamp(-1, 1)

    def train_step(self, x: Tensor, lr_scale: float) -> dict[str, Tensor]:
        loss, reconstruction, kl = self.loss(x, randn(len(x), self.latent))
        norms = self.optimizer.step(loss, lr_scale)
        losses = {"loss": loss.detach(), "reconstruction": reconstruction.detach(), "kl": kl.detach()}
        return losses | norms

    def sample(self, n: int) -> Tensor:
        return self.generate(randn(n, self.latent))
