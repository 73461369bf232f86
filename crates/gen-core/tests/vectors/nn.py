"""Writes nn.safetensors: inputs, parameters and outputs of layers, a case each, for the tests of src/nn.

Run in this folder with torch 2.13.0, numpy and safetensors: `python nn.py`. All numbers are f64. `state.` has the
parameters and buffers before the first pass. Formulas that are not PyTorch's own follow the paper or the published
code that the layer names.
"""

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

file = {}


def record(case, **tensors):
    for name, tensor in tensors.items():
        file[f"{case}/{name.replace('__', ' ')}"] = tensor.detach().clone().contiguous()


def record_state(case, state):
    for name, tensor in state.items():
        file[f"{case}/state.{name}"] = tensor.detach().clone().contiguous()


def convolve():
    x, weight, bias = torch.randn(2, 4, 5, 5), torch.randn(4, 2, 3, 3), torch.randn(4)
    dilated = F.conv2d(x, weight, bias, padding=2, dilation=2, groups=2)
    doubled = F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1, groups=2)
    record("convolve", x=x, weight=weight, bias=bias, dilated=dilated, doubled=doubled)


def spectral():
    cases = {
        "spectral linear": (nn.Linear(4, 3), torch.randn(5, 4)),
        "spectral conv": (nn.Conv2d(2, 3, 4, 2, 1), torch.randn(2, 2, 6, 6)),
        "spectral transposed": (nn.ConvTranspose2d(2, 3, 4, 2, 1, bias=False), torch.randn(2, 2, 4, 4)),
    }
    for case, (layer, x) in cases.items():
        layer = nn.utils.parametrizations.spectral_norm(layer)
        norm = layer.parametrizations.weight[0]
        with torch.no_grad():
            # Far from the end of the iteration, so that each step moves the vectors.
            for vector in (norm._u, norm._v):
                vector.copy_(F.normalize(torch.randn_like(vector), dim=0))
        record_state(case, layer.state_dict())
        before = layer.eval()(x)
        first = layer.train()(x)
        second = layer(x)
        after = layer.eval()(x)
        record(case, x=x, before=before, first=first, second=second, after=after, _u=norm._u, _v=norm._v)


def equalised():
    # FullyConnectedLayer and Conv2dLayer of stylegan2-ada-pytorch, with a gain.
    rate, gain = 0.01, 1.5
    x, weight, bias = torch.randn(2, 4), torch.randn(3, 4) / rate, torch.randn(3) / rate
    record_state("equalised linear", {"weight": weight, "bias": bias})
    record("equalised linear", x=x, y=F.linear(x, weight * gain * rate / 4**0.5, bias * rate))
    x, weight = torch.randn(2, 2, 5, 5), torch.randn(3, 2, 3, 3) / rate
    record_state("equalised conv", {"weight": weight})
    record("equalised conv", x=x, y=F.conv2d(x, weight * gain * rate / 18**0.5, stride=2, padding=1))


def upfirdn(x, taps, up=1, down=1, pad=(0, 0), gain=1.0):
    """upfirdn2d of stylegan2-ada-pytorch, for a separable filter and equal paddings of both sides."""
    n, c, h, w = x.shape
    spread = torch.zeros(n, c, h * up, w * up)
    spread[:, :, ::up, ::up] = x
    spread = F.pad(spread, [pad[0], pad[1], pad[0], pad[1]])
    f = torch.outer(taps, taps).flip([0, 1]) * gain
    return F.conv2d(spread, f[None, None].repeat(c, 1, 1, 1), groups=c)[:, :, ::down, ::down]


BLUR = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8


def resample():
    x = torch.randn(2, 3, 4, 6)
    taps = torch.tensor([0.5, 0.3, 0.2])

    def pool(taps):
        # BlurPool of Zhang's antialiased-cnns.
        k = len(taps)
        padded = F.pad(x, [(k - 1) // 2, k // 2] * 2, mode="reflect")
        f = torch.outer(taps, taps).flip([0, 1])
        return F.conv2d(padded, f[None, None].repeat(3, 1, 1, 1), stride=2, groups=3)

    record(
        "resample",
        x=x,
        bilinear__to__7__x__3=F.interpolate(x, size=(7, 3), mode="bilinear", align_corners=False),
        bilinear__by__2=F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
        average=F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False),
        upfirdn=upfirdn(x, taps, 3, 2, (-1, 2)),
        up=upfirdn(x, BLUR, 2, 1, (2, 1), 4.0),
        down=upfirdn(x, BLUR, 1, 2, (1, 1)),
        pool=pool(taps),
        pool__by__4__taps=pool(BLUR),
    )


def minibatch_std():
    # MinibatchStdLayer of stylegan2-ada-pytorch.
    x = torch.randn(6, 4, 2, 3)
    group, features = 3, 2
    y = x.reshape(group, -1, features, 4 // features, 2, 3)
    y = y - y.mean(dim=0)
    y = (y.square().mean(dim=0) + 1e-8).sqrt().mean(dim=[2, 3, 4])
    y = y.reshape(-1, features, 1, 1).repeat(group, 1, 2, 3)
    record("minibatch std", x=x, y=torch.cat([x, y], dim=1))


def modulation():
    def modulated(x, weight, styles, demodulate, transposed=False):
        # modulated_conv2d of stylegan2-ada-pytorch with a convolution for each image.
        w = weight[None] * styles[:, None, :, None, None]
        if demodulate:
            w = w * (w.square().sum([2, 3, 4], keepdim=True) + 1e-8).rsqrt()
        each = []
        for image, w in zip(x, w):
            if transposed:
                y = F.conv_transpose2d(image[None], w.transpose(0, 1), stride=2)
                each.append(upfirdn(y, BLUR, pad=(1, 1), gain=4.0))
            else:
                each.append(F.conv2d(image[None], w, padding=w.shape[-1] // 2))
        return torch.cat(each)

    for case, kernel, transposed, demodulate in [
        ("modulated same", 3, False, True),
        ("modulated double", 3, True, True),
        ("modulated colours", 1, False, False),
    ]:
        x, latents = torch.randn(2, 4, 4, 5), torch.randn(2, 5)
        weight, bias = torch.randn(3, 4, kernel, kernel), torch.randn(3)
        affine, affine_bias = torch.randn(4, 5), torch.randn(4)
        record_state(case, {"weight": weight, "bias": bias, "affine.weight": affine, "affine.bias": affine_bias})
        styles = F.linear(latents, affine / 5**0.5, affine_bias)
        if not demodulate:
            styles = styles / (4 * kernel * kernel) ** 0.5
        y = modulated(x, weight, styles, demodulate, transposed) + bias[:, None, None]
        record(case, x=x, latents=latents, y=y)


def conditional():
    def film(x, modulation):
        scale, shift = modulation.chunk(2, 1)
        shape = [*scale.shape] + [1] * (x.dim() - 2)
        return x * (1 + scale.view(shape)) + shift.view(shape)

    x, condition, linear = torch.randn(2, 4, 3, 3), torch.randn(2, 3), nn.Linear(3, 8)
    record_state("film", linear.state_dict())
    record(
        "film",
        x=x,
        condition=condition,
        y=film(x, linear(condition)),
        of__rows=film(x.mean([2, 3]), linear(condition)),
    )

    norm = nn.GroupNorm(2, 4)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    state = {f"norm.{k}": v for k, v in norm.state_dict().items()}
    state |= {f"film.{k}": v for k, v in linear.state_dict().items()}
    record_state("conditional group norm", state)
    record("conditional group norm", x=x, condition=condition, y=F.silu(film(norm(x), linear(condition))))

    x, classes, table = torch.randn(4, 4, 3, 3), torch.tensor([2, 0, 1, 2]), torch.randn(3, 8)
    norm = nn.BatchNorm2d(4, affine=False)
    record_state(
        "conditional batch norm",
        {"embed.weight": table, "running_mean": norm.running_mean, "running_var": norm.running_var},
    )
    train = F.relu(film(norm(x), table[classes]))
    evaluate = film(norm.eval()(x), table[classes])
    record(
        "conditional batch norm",
        x=x,
        classes=classes,
        train=train,
        evaluate=evaluate,
        running__mean=norm.running_mean,
        running__var=norm.running_var,
    )


def attention():
    q, k, v = torch.randn(2, 2, 4, 3), torch.randn(2, 2, 6, 3), torch.randn(2, 2, 6, 3)
    y = F.scaled_dot_product_attention(q, k, v)
    record("attention", q=q, k=k, v=v, y=y, unscaled=F.scaled_dot_product_attention(q, k, v, scale=1.0))

    # Attention of BigGAN-PyTorch.
    ch, case = 8, "spectral attention"
    channels = {"theta": (ch, ch // 8), "phi": (ch, ch // 8), "g": (ch, ch // 2), "o": (ch // 2, ch)}
    conv = {
        name: nn.utils.parametrizations.spectral_norm(nn.Conv2d(*io, 1, bias=False)).eval()
        for name, io in channels.items()
    }
    gamma = torch.tensor(0.7)
    state = {f"{name}.{k}": v for name, layer in conv.items() for k, v in layer.state_dict().items()}
    record_state(case, state | {"gamma": gamma})
    x = torch.randn(2, ch, 4, 6)
    theta = conv["theta"](x).view(2, ch // 8, 24)
    phi = F.max_pool2d(conv["phi"](x), 2).view(2, ch // 8, 6)
    g = F.max_pool2d(conv["g"](x), 2).view(2, ch // 2, 6)
    beta = F.softmax(torch.bmm(theta.transpose(1, 2), phi), -1)
    o = conv["o"](torch.bmm(g, beta.transpose(1, 2)).view(2, ch // 2, 4, 6))
    record(case, x=x, y=gamma * o + x)


def gated():
    linear, x = nn.Linear(3, 4), torch.randn(2, 3)
    record_state("gated", linear.state_dict())
    values, gates = linear(x).chunk(2, -1)
    record("gated", x=x, glu=F.glu(linear(x)), geglu=values * F.gelu(gates), swiglu=values * F.silu(gates))


def masked():
    for case, strict, inputs, outputs in [("masked a", True, 3, 6), ("masked b", False, 6, 3)]:
        conv, x = nn.Conv2d(inputs, outputs, 3, padding=1), torch.randn(2, inputs, 4, 5)
        record_state(case, conv.state_dict())
        with torch.no_grad():
            conv.weight[:, :, 2] = 0
            conv.weight[:, :, 1, 2] = 0
            for o in range(outputs):
                for i in range(inputs):
                    of_output, of_input = o // (outputs // 3), i // (inputs // 3)
                    if of_input > of_output or (strict and of_input == of_output):
                        conv.weight[o, i, 1, 1] = 0
        record(case, x=x, y=conv(x))

    # The layer of van den Oord et al. (2016b), figure 2, by square kernels with zeros.
    def gate(x):
        a, b = x.chunk(2, 1)
        return torch.tanh(a) * torch.sigmoid(b)

    p, k = 3, 5
    for case, strict, inputs in [("gated a", True, 1), ("gated b", False, 3)]:
        columns = k // 2 if strict else k // 2 + 1
        shapes = {
            "vertical.weight": (2 * p, inputs, k // 2 + 1, k),
            "vertical.bias": (2 * p,),
            "horizontal.weight": (2 * p, inputs, 1, columns),
            "horizontal.bias": (2 * p,),
            "link.weight": (2 * p, 2 * p, 1, 1),
            "link.bias": (2 * p,),
            "out.weight": (p, p, 1, 1),
            "out.bias": (p,),
            "vertical_condition.weight": (2 * p, 2),
            "vertical_condition.bias": (2 * p,),
            "horizontal_condition.weight": (2 * p, 2),
            "horizontal_condition.bias": (2 * p,),
        }
        s = {name: torch.randn(shape) * 0.5 for name, shape in shapes.items()}
        record_state(case, s)
        v, condition = torch.randn(2, inputs, 4, 6), torch.randn(2, 2)
        h = v if strict else torch.randn(2, inputs, 4, 6)
        square = torch.zeros(2 * p, inputs, k, k)
        square[:, :, : k // 2 + 1] = s["vertical.weight"]
        v_sums = F.conv2d(v, square, s["vertical.bias"], padding=k // 2)
        square = torch.zeros(2 * p, inputs, k, k)
        square[:, :, k // 2, :columns] = s["horizontal.weight"][:, :, 0]
        h_sums = F.conv2d(h, square, s["horizontal.bias"], padding=k // 2)
        above = torch.cat([torch.zeros_like(v_sums[:, :, :1]), v_sums[:, :, :-1]], 2)
        h_sums = h_sums + F.conv2d(above, s["link.weight"], s["link.bias"])

        def of(name):
            return F.linear(condition, s[f"{name}.weight"], s[f"{name}.bias"])[:, :, None, None]

        out = F.conv2d(gate(h_sums + of("horizontal_condition")), s["out.weight"], s["out.bias"])
        record(
            case,
            vertical__in=v,
            horizontal__in=h,
            condition=condition,
            vertical__out=gate(v_sums + of("vertical_condition")),
            horizontal__out=out if strict else h + out,
        )


cases = (convolve, spectral, equalised, resample, minibatch_std, modulation, conditional, attention, gated, masked)
for case in cases:
    case()
save_file(file, "nn.safetensors")
