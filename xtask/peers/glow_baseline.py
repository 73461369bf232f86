"""Trains the multi-scale Glow of normflows on Fashion-MNIST for a given time; prints its bits per dimension as JSON.

    python glow_baseline.py --seconds 600 --threads 2

`cargo xtask bench --libraries` makes an environment for it, and `gen data fetch fashion-mnist` fetches the data.

The test likelihood is of all 10,000 test images, dequantised once with uniform noise, in bits over their 784 pixels.
With `--pad`, the bits of the pixels around the image count as well, and are still divided by 784. The result is an
upper bound, since the black frame has to be coded too. The clock runs only during training steps, not while data is
read or test images are evaluated.
"""

import argparse
import gzip
import importlib.metadata
import json
import math
import os
import sys
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from libraries import multiscale_glow

PIXELS = 28 * 28
LEVELS = 256


def images(folder: Path, name: str) -> Tensor:
    """The images of an IDX file, `u8 [n, 1, height, width]`."""
    path = folder / name
    content = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{name}.gz").read_bytes())
    magic, n, height, width = (int.from_bytes(content[i : i + 4], "big") for i in range(0, 16, 4))
    if magic != 0x803 or len(content) != 16 + n * height * width:
        raise ValueError(f"{path} is not an IDX file of bytes in three dimensions")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=16).view(n, 1, height, width)


def default_folder() -> Path:
    """The folder that `gen data fetch fashion-mnist` fills."""
    if folder := os.environ.get("GEN_DATA"):
        return Path(folder) / "fashion-mnist"
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        cache = Path.home() / ".cache"
    return cache / "gen-models/datasets/fashion-mnist"


def dequantise(x: Tensor) -> Tensor:
    """Bytes with uniform noise, in [0, 1)."""
    return ((x + torch.rand(x.shape)) / LEVELS).clamp_max(1 - torch.finfo(torch.float32).eps)


def bits_per_dim(log_prob: Tensor, dimensions: int) -> Tensor:
    """Bits of images with values in [0, 1) and this number of dimensions, divided by the 784 pixels of the image."""
    return (dimensions * math.log(LEVELS) - log_prob) / (PIXELS * math.log(2))


def learning_rate(settings: argparse.Namespace, step: int, done: float) -> float:
    """A linear warm-up over `warmup` steps, then a cosine if the schedule has one; `done` goes from 0 to 1."""
    scale = min((step + 1) / max(settings.warmup, 1), 1.0)
    if settings.schedule == "cosine":
        scale *= 0.5 * (1 + math.cos(math.pi * done))
    return settings.lr * scale


def train(flow: nn.Module, x: Tensor, settings: argparse.Namespace) -> tuple[int, float]:
    """Returns the number of steps, and their seconds."""
    dimensions = x[0].numel()
    kind = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}[settings.optimizer]
    fused = {"fused": True} if settings.optimizer == "adam" else {}
    optimizer = kind(flow.parameters(), lr=settings.lr, **fused)
    most = settings.steps_at_most or math.inf
    step, start = 0, perf_counter()
    while True:
        for index in torch.randperm(len(x)).split(settings.batch):
            elapsed = perf_counter() - start
            done = max(elapsed / settings.seconds, step / most)
            if done >= 1:
                return step, elapsed
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, step, done)
            loss = bits_per_dim(flow.log_prob(dequantise(x[index]), None), dimensions).mean()
            if not torch.isfinite(loss):
                raise ValueError(f"the loss is {loss.item()} at step {step}")
            optimizer.zero_grad()
            loss.backward()
            if settings.clip > 0:
                nn.utils.clip_grad_norm_(flow.parameters(), settings.clip)
            optimizer.step()
            step += 1
            if step % 100 == 0:
                print(f"step {step}, {elapsed:.0f} s: {loss.item():.3f} bits/dim", file=sys.stderr, flush=True)


@torch.no_grad()
def evaluate(flow: nn.Module, x: Tensor) -> Tensor:
    """The bits per dimension of each image."""
    flow.eval()
    parts = [bits_per_dim(flow.log_prob(dequantise(part), None), x[0].numel()) for part in x.split(250)]
    return torch.cat(parts)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_folder(), help="the folder with the IDX files")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--steps-at-most", type=int, help="end after this number of steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pad", action="store_true", help="images of 32 x 32 with a black frame")
    parser.add_argument("--scales", type=int, default=2, help="L")
    parser.add_argument("--steps", type=int, default=8, help="K, the steps of a scale")
    parser.add_argument("--width", type=int, default=64, help="channels of the hidden layers")
    parser.add_argument("--logit", type=float, default=1e-6, metavar="ALPHA", help="margin of the logit; 0 for none")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--optimizer", choices=["adam", "adamax"], default="adam")
    parser.add_argument("--lr", type=float, default=8e-3)
    parser.add_argument("--schedule", choices=["constant", "cosine"], default="cosine")
    parser.add_argument("--warmup", type=int, default=100, help="steps over which the learning rate rises")
    parser.add_argument("--clip", type=float, default=1, help="the largest norm of a gradient; 0 for no limit")
    return parser.parse_args()


def main() -> None:
    settings = arguments()
    import normflows as nf

    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    train_set, test_set = (images(settings.data, f"{split}-images-idx3-ubyte") for split in ["train", "t10k"])
    if settings.pad:
        train_set, test_set = F.pad(train_set, (2, 2, 2, 2)), F.pad(test_set, (2, 2, 2, 2))
    transform = nf.transforms.Logit(settings.logit) if settings.logit > 0 else None
    flow = multiscale_glow(train_set.shape[1:], settings.scales, settings.steps, settings.width, transform)
    with torch.no_grad():
        # Activation normalisation is initialised from data.
        flow.log_prob(dequantise(train_set[torch.randperm(len(train_set))[:512]]), None)
    steps, seconds = train(flow, train_set, settings)
    bits = evaluate(flow, test_set)
    result = {
        "bits_per_dim": bits.mean().item(),
        "standard_error": (bits.std() / math.sqrt(len(bits))).item(),
        "test_images": len(bits),
        "steps": steps,
        "seconds": seconds,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "settings": vars(settings) | {"data": str(settings.data)},
        "normflows": importlib.metadata.version("normflows"),
        "torch": torch.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
