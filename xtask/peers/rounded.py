"""Convolutions with operands in bfloat16, as gen-native's: both factors of a product are rounded, sums are not."""

from contextlib import contextmanager

import torch
from torch import Tensor, nn

LAYERS = (nn.Conv2d, nn.ConvTranspose2d)


def rounded(x: Tensor) -> Tensor:
    return x.bfloat16().to(x.dtype)


class Convolution(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight, bias, stride, padding, transposed):
        context.save_for_backward(x, weight)
        context.has_bias = bias is not None
        context.settings = (stride, padding, [1, 1], transposed, [0, 0], 1)
        return torch.convolution(rounded(x), rounded(weight), bias, *context.settings)

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        dx, dw, _ = torch.ops.aten.convolution_backward(
            rounded(gradient), rounded(x), rounded(weight), None, *context.settings, [True, True, False]
        )
        db = gradient.sum((0, 2, 3)) if context.has_bias else None
        return dx, dw, db, None, None, None


def forward(layer: nn.Module, x: Tensor) -> Tensor:
    transposed = isinstance(layer, nn.ConvTranspose2d)
    return Convolution.apply(x, layer.weight, layer.bias, list(layer.stride), list(layer.padding), transposed)


@contextmanager
def convolutions():
    """Makes PyTorch's layers round inside the context; `torch.nn.functional` does not."""
    before = {layer: layer.forward for layer in LAYERS}
    for layer in LAYERS:
        layer.forward = forward
    try:
        yield
    finally:
        for layer, own in before.items():
            layer.forward = own
