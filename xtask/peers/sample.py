"""`gen sample RUN -n N --out FILE.png` for a DCGAN as a plain PyTorch script, for `cargo xtask bench --programs`.

    python sample.py RUN FILE [-n N] [--threads N]

It imports only the modules that it needs: the generator, safetensors, and zlib for the PNG.
"""

import argparse
import struct
import tomllib
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from quick_gan import Generator, channels, pyramid
from exported import load_weights, part

GAP = 2
COLUMNS = 8


def generator(run: Path) -> tuple[Generator, int]:
    """The trained generator of a run, with its averaged weights, and the entries of its latent code."""
    config = tomllib.loads((run / "config.toml").read_text())
    image, model = config["data"]["shape"]["image"], config["model"]
    _, base = pyramid(image)
    network = Generator(model["latent_dim"], channels(image, model["generator_width"])[::-1], base)
    load_weights(network, part(load_file(run / "checkpoint/latest/ema.safetensors"), "ema.average"))
    return network.eval(), model["latent_dim"]


def grid(x: Tensor) -> Tensor:
    """Grey images `[n, 1, height, width]` in [-1, 1] as one picture, `u8 [height, width, 3]`."""
    n, _, height, width = x.shape
    bytes_ = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    bytes_ = F.pad(bytes_, (GAP, 0, GAP, 0, 0, 0, 0, -n % COLUMNS))
    rows = bytes_.view(-1, COLUMNS, height + GAP, width + GAP).transpose(1, 2)
    picture = F.pad(rows.reshape(-1, COLUMNS * (width + GAP)), (0, GAP, 0, GAP))
    return picture.unsqueeze(2).expand(-1, -1, 3).contiguous()


def write_png(picture: Tensor, path: Path) -> None:
    height, width, _ = picture.shape
    lines = F.pad(picture.view(height, width * 3), (1, 0))  # no filter

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(lines.numpy().tobytes())
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    network, latent = generator(args.run)
    torch.manual_seed(0)
    with torch.inference_mode():
        write_png(grid(network(torch.randn(args.n, latent))), args.file)


if __name__ == "__main__":
    main()
