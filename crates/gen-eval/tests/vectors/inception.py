"""Writes inception.json: names and shapes of the weights of pytorch-fid's network, and its features and logits where
weights and images are formulas.

Run with torch 2.13.0, torchvision 0.28.0 and pytorch-fid 0.3.0: `python inception.py > inception.json`. The numbers
come from pytorch-fid's own `InceptionV3`; only its download of the published weights is left out. `--check` shows how
far the features move when one weight or one pool is another, so that a test against them sees every layer.
"""

import json
import math
import sys

import numpy
import torch
import torchvision
from pytorch_fid import inception

MASK = 2**32 - 1
CLASSES = range(0, 1008, 63)


def uniform(count, seed):
    """`count` numbers in [-1, 1) that depend on their index and `seed`: products and shifts modulo 2^32."""
    u = (numpy.arange(count, dtype=numpy.uint64) * 747796405 + seed * 2891336453) & MASK
    u ^= u >> numpy.uint64(16)
    u = u * numpy.uint64(73244475) & numpy.uint64(MASK)
    u ^= u >> numpy.uint64(16)
    return u.astype(numpy.float64) / 2**31 - 1


def weight(name, shape, seed):
    u = uniform(math.prod(shape), seed)
    if name.endswith("conv.weight"):
        u = u * math.sqrt(6 / math.prod(shape[1:]))
    elif name == "fc.weight":
        u = u * math.sqrt(3 / shape[1])
    elif name.endswith("bn.weight"):
        u = 1 + 0.2 * u
    elif name.endswith("running_var"):
        u = 1 + 0.5 * u
    else:
        u = 0.2 * u
    return torch.from_numpy(u.reshape(shape).astype(numpy.float32))


def state_dict(shapes):
    """Weights of these shapes; the seed of each is its place in the order of the names."""
    names = sorted(name for name in shapes if not name.endswith("num_batches_tracked"))
    return {name: weight(name, shapes[name], seed) for seed, name in enumerate(names)}


def images(height, width, channels, index):
    """One image, u8 [1, channels, height, width]."""
    c, y, x = numpy.mgrid[:channels, :height, :width]
    values = (37 * y + 91 * x + 13 * y * x + 50 * c + 17 * index) % 256
    return torch.from_numpy(values[None].astype(numpy.uint8))


def build():
    """pytorch-fid's network and its last layer, with the weights of the formula, and their shapes."""
    last, shapes = [], {}

    def load(network, _):
        own = state_dict({name: tuple(value.shape) for name, value in network.state_dict().items()})
        torch.nn.Module.load_state_dict(network, own)
        shapes.update({name: tuple(own[name].shape) for name in sorted(own)})
        last.append(own["fc.weight"])

    inception.load_state_dict_from_url = lambda *_, **__: None
    torchvision.models.Inception3.load_state_dict = load
    return inception.InceptionV3().eval(), last[0], shapes


def batches():
    return [
        torch.cat([images(28, 28, 1, 0), images(28, 28, 1, 1)]),
        torch.cat([images(64, 48, 3, 2), images(64, 48, 3, 3)]),
    ]


@torch.inference_mode()
def features(network):
    parts = []
    for batch in batches():
        x = batch.expand(-1, 3, -1, -1).float() / 255
        parts.append(network(x)[0].flatten(1))
    return torch.cat(parts)


def rounded(rows):
    return [[float(f"{value:.9g}") for value in row] for row in rows.double().tolist()]


def check(network):
    """Largest change of a feature, in parts of the largest feature."""
    whole = features(network)

    def show(name):
        change = (features(network) - whole).abs().max() / whole.abs().max()
        print(f"{change:.1e} {name}", flush=True)

    print("largest", whole.abs().max(), "mean", whole.mean(), "zeros", (whole == 0).double().mean())
    for name, module in network.named_modules():
        if isinstance(module, torchvision.models.inception.BasicConv2d):
            for tensor in (module.conv.weight, module.bn.weight, module.bn.bias, module.bn.running_mean):
                with torch.inference_mode():
                    tensor *= 1.01
                    if tensor is module.conv.weight or "--all" in sys.argv:
                        show(name)
                    tensor /= 1.01
            module.bn.eps = 0.0
    show("no epsilon")
    for module in network.modules():
        if isinstance(module, torchvision.models.inception.BasicConv2d):
            module.bn.eps = 0.001
    functional = torch.nn.functional
    average, largest, interpolate = functional.avg_pool2d, functional.max_pool2d, functional.interpolate
    functional.avg_pool2d = lambda *a, **k: average(*a, **{**k, "count_include_pad": True})
    show("padding counts in the average pools")
    functional.avg_pool2d = average
    functional.max_pool2d = lambda x, kernel_size, stride, padding=0: (
        average(x, kernel_size, stride, padding, count_include_pad=False)
        if padding
        else largest(x, kernel_size, stride)
    )
    show("an average pool in the last block")
    functional.max_pool2d = largest
    functional.interpolate = lambda x, size, mode, align_corners: interpolate(x, size, mode=mode, align_corners=True)
    show("aligned corners")
    functional.interpolate = interpolate


if __name__ == "__main__":
    network, last, shapes = build()
    if "--check" in sys.argv:
        check(network)
    else:
        found = features(network)
        logits = found @ last.T
        print(
            json.dumps({"shapes": shapes, "features": rounded(found), "logits": rounded(logits[:, list(CLASSES)])},
                       separators=(",", ":")).replace("],", "],\n")
        )
