"""DCGAN (Radford et al. 2016) for images, as gen-gan's `quick-gan`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import Optimizer, randn, sum_rows


def pyramid(image: dict) -> tuple[int, tuple[int, int]]:
    """The number of times that the sides are halved, and the remaining height and width."""
    height, width = image["height"], image["width"]
    levels = 0
    while min(height, width) >> levels > 7:
        levels += 1
    return levels, (height >> levels, width >> levels)


def channels(image: dict, first: int) -> list[int]:
    """Channels of the feature maps, from the image inwards."""
    levels, _ = pyramid(image)
    return [image["channels"], *(first << level for level in range(levels))]


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, last: bool):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.up = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=last)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.relu(self.norm(x)))


class Generator(nn.Module):
    def __init__(self, latent: int, channels: list[int], base: tuple[int, int]):
        super().__init__()
        self.base = (channels[0], *base)
        self.project = nn.Linear(latent, channels[0] * base[0] * base[1])
        pairs = list(zip(channels, channels[1:]))
        self.stages = nn.ModuleList(Up(a, b, i + 1 == len(pairs)) for i, (a, b) in enumerate(pairs))

    def forward(self, z: Tensor) -> Tensor:
        x = self.project(z).view(-1, *self.base)
        for stage in self.stages:
            x = stage(x)
        return torch.tanh(x)


class Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, normal: bool):
        super().__init__()
        self.down = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=not normal)
        self.norm = nn.BatchNorm2d(outputs) if normal else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.down(x)), 0.2)


class Discriminator(nn.Module):
    def __init__(self, channels: list[int], base: tuple[int, int], batch_norm: bool):
        super().__init__()
        pairs = zip(channels, channels[1:])
        self.stages = nn.ModuleList(Down(a, b, batch_norm and i > 0) for i, (a, b) in enumerate(pairs))
        self.head = nn.Linear(channels[-1] * base[0] * base[1], 1)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.head(x.flatten(1)).squeeze(1)


class Model:
    compiled = ["generate", "loss_d", "loss_g"]

    def __init__(self, config: dict, data: dict):
        self.r1_gamma = config["penalty"].get("gamma", 0)
        image = data["shape"]["image"]
        _, base = pyramid(image)
        self.latent = config["latent_dim"]
        self.generator = Generator(self.latent, channels(image, config["generator_width"])[::-1], base)
        self.discriminator = Discriminator(
            channels(image, config["discriminator_width"]), base, config["discriminator_batch_norm"]
        )
        self.optimizer_g = Optimizer(self.generator, config["generator_optimizer"])
        self.optimizer_d = Optimizer(self.discriminator, config["discriminator_optimizer"])
        self.network = self.generator
        self.networks = {"weights": self.generator, "training.discriminator": self.discriminator}
        self.optimizers = {
            "training.generator_optimizer": (self.generator, self.optimizer_g),
            "training.discriminator_optimizer": (self.discriminator, self.optimizer_d),
        }

    def generate(self, z: Tensor) -> Tensor:
        return self.generator(z)

    def loss_d(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The discriminator's loss, and its logits of real and of fake images."""
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean(), real_logits, fake_logits

    def loss_g(self, z: Tensor) -> Tensor:
        return F.softplus(-self.discriminator(self.generator(z))).mean()

    def train_step(self, real: Tensor, lr_scale: float) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.generate(randn(len(real), self.latent))
        real = real.detach().requires_grad_(self.r1_gamma > 0)
        loss_d, real_logits, fake_logits = self.loss_d(real, fake)
        losses = {"loss_d": loss_d, "d_real": real_logits.sigmoid().mean(), "d_fake": fake_logits.sigmoid().mean()}
        if self.r1_gamma > 0:
            (slope,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
            losses["r1"] = 0.5 * self.r1_gamma * sum_rows(slope.square()).mean()
            loss_d = loss_d + losses["r1"]
        self.optimizer_d.step(loss_d, lr_scale)
        self.discriminator.requires_grad_(False)
        losses["loss_g"] = self.loss_g(randn(len(real), self.latent))
        self.optimizer_g.step(losses["loss_g"], lr_scale)
        self.discriminator.requires_grad_(True)
        return {name: loss.detach() for name, loss in losses.items()}

    def sample(self, n: int) -> Tensor:
        return self.generate(randn(n, self.latent))
