"""Denoising diffusion for images, as gen-diffusion's `quick-diffusion`: v-prediction, DDIM sampling."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import Optimizer, randn, randn_like


def cosine_alphas_cumprod(timesteps: int) -> Tensor:
    def alpha_bar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [
        min(1 - alpha_bar((t + 1) / timesteps) / alpha_bar(t / timesteps), 0.999) for t in range(timesteps)
    ]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0)


def group_norm(channels: int) -> nn.GroupNorm:
    groups = next(g for g in range(min(32, channels // 4), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class TimeEmbedding(nn.ModuleList):
    def __init__(self, frequencies: int, outputs: int):
        super().__init__([nn.Linear(frequencies, outputs), nn.Linear(outputs, outputs)])
        half = frequencies // 2
        self.register_buffer(
            "frequencies", torch.exp(torch.arange(half) * (-math.log(10_000) / half)), persistent=False
        )

    def forward(self, time: Tensor) -> Tensor:
        angles = time[:, None] * self.frequencies
        first, second = self
        return F.silu(second(F.silu(first(torch.cat([angles.cos(), angles.sin()], 1)))))


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, embedding: int):
        super().__init__()
        self.norm1 = group_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(embedding, 2 * outputs)
        self.norm2 = group_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time(embedding)[:, :, None, None].chunk(2, 1)
        h = torch.addcmul(shift, self.norm2(h), scale + 1)
        return self.skip(x) + self.conv2(F.silu(h))


class SelfAttention(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.permute(1, 0, 2, 4, 3)
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(attended.transpose(2, 3).reshape(batch, channels, height, width))


class Stage(nn.ModuleDict):
    """The blocks of one resolution under their numbers, and `resample` if another resolution follows."""

    def __init__(self, blocks: list[ResidualBlock], resample: nn.Module | None):
        modules = {str(i): block for i, block in enumerate(blocks)}
        super().__init__(modules if resample is None else modules | {"resample": resample})

    def blocks(self) -> list[nn.Module]:
        return [module for name, module in self.items() if name != "resample"]


class UNet(nn.Module):
    def __init__(self, config: dict, channels: int):
        super().__init__()
        assert config["dropout"] == 0
        self.patch, widths, blocks = config["patch"], config["channels"], config["blocks"]
        first, last, levels = widths[0], widths[-1], len(widths)
        pixels, embedding = channels * self.patch**2, 4 * first
        self.embedding = TimeEmbedding(first, embedding)
        self.stem = nn.Conv2d(pixels, first, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            lower = nn.Conv2d(width, widths[level + 1], 2, stride=2) if level + 1 < levels else None
            higher = nn.Conv2d(width, 4 * widths[level - 1], 1) if level > 0 else None
            self.down.append(Stage([ResidualBlock(width, width, embedding) for _ in range(blocks)], lower))
            self.up.append(Stage([ResidualBlock(2 * width, width, embedding) for _ in range(blocks)], higher))
        self.middle = nn.ModuleDict({"block": ResidualBlock(last, last, embedding)})
        if config["heads"] > 0:
            self.middle["attention"] = SelfAttention(last, config["heads"])
        self.norm = group_norm(first)
        self.head = nn.Conv2d(first, pixels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        embedding = self.embedding(time)
        h = self.stem(F.pixel_unshuffle(x, self.patch))
        across = []
        for stage in self.down:
            for block in stage.blocks():
                h = block(h, embedding)
                across.append(h)
            if "resample" in stage:
                h = stage["resample"](h)
        h = self.middle["block"](h, embedding)
        if "attention" in self.middle:
            h = self.middle["attention"](h)
        for stage in reversed(self.up):
            for block in stage.blocks():
                h = block(torch.cat([h, across.pop()], 1), embedding)
            if "resample" in stage:
                h = F.pixel_shuffle(stage["resample"](h), 2)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.patch)


class Model:
    compiled = ["loss", "denoise"]

    def __init__(self, config: dict, data: dict):
        process = config["process"]
        assert (process["kind"], process["schedule"]) == ("variance-preserving", "cosine")
        kinds = [config[piece]["kind"] for piece in ("prediction", "weighting", "noise")]
        assert kinds == ["v", "uniform", "stratified"] and config["sampling"]["clip"]
        assert not any(config["condition"].values())
        sampler = config["sampling"]["sampler"]
        assert sampler["kind"] == "ddim" and sampler["eta"] == 0 and sampler["spacing"] == "trailing"
        image = data["shape"]["image"]
        self.shape = (image["channels"], image["height"], image["width"])
        self.timesteps, self.steps = process["timesteps"], sampler["steps"]
        alphas_cumprod = cosine_alphas_cumprod(self.timesteps)
        self.alpha, self.sigma = alphas_cumprod.sqrt().float(), (1 - alphas_cumprod).sqrt().float()
        self.network = UNet(config["network"], image["channels"])
        self.optimizer = Optimizer(self.network, config["optimizer"])
        self.networks = {"weights": self.network}
        self.optimizers = {"training.optimizer": (self.network, self.optimizer)}

    def loss(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The squared error of v of each row."""
        alpha, sigma = self.alpha[t, None, None, None], self.sigma[t, None, None, None]
        v = self.network(alpha * x0 + sigma * noise, t.float() * (1000 / self.timesteps))
        return (v - (alpha * noise - sigma * x0)).square().flatten(1).mean(1)

    def denoise(self, x: Tensor, time: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return (alpha * x - sigma * self.network(x, time)).clamp(-1, 1)

    def train_step(self, x0: Tensor, lr_scale: float) -> dict[str, Tensor]:
        part = torch.arange(len(x0), dtype=torch.float64)
        t = ((part + torch.rand_like(part)) * (self.timesteps / len(x0))).long().clamp_max(self.timesteps - 1)
        losses = self.loss(x0, randn_like(x0), t)
        loss = losses.mean()
        norms = self.optimizer.step(loss, lr_scale)
        quarters = losses.detach().chunk(4)
        named = {f"loss_q{i + 1}": quarter.mean() for i, quarter in enumerate(quarters)}
        return {"loss": loss.detach()} | named | norms

    def sample(self, n: int) -> Tensor:
        x = randn(n, *self.shape)
        gap = self.timesteps / self.steps
        levels = [round(self.timesteps - i * gap) - 1 for i in range(self.steps)]
        for i, t in enumerate(levels):
            alpha, sigma = self.alpha[t], self.sigma[t]
            x0 = self.denoise(x, torch.full((n,), t * 1000 / self.timesteps), alpha, sigma)
            if i + 1 == self.steps:
                return x0
            noise = (x - alpha * x0) / sigma
            x = self.alpha[levels[i + 1]] * x0 + self.sigma[levels[i + 1]] * noise
        return x
