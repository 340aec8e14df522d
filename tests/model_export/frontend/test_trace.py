"""Traced networks against the modules that they come from."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.reference import FloatReference


class Lambda(nn.Module):
    """Submodules by name and a function of (module, x)."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


def bake(model, seed=0):
    """Random ternary weights, biases and batch-norm statistics (gains of both signs)."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                trits = torch.randint(-1, 2, module.weight.shape, generator=rng)
                module.weight.copy_(torch.where(trits > 0, 0.7, torch.where(trits < 0, -0.4, 0.0)))
                if module.bias is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=rng))
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
                for tensor in (module.running_mean, module.weight, module.bias):
                    tensor.copy_(torch.randn(tensor.shape, generator=rng))
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=rng) + 0.5)
    return model.eval()


def check(model, shape=(3, 9, 8), digits=0):
    """Trace, compare with the module, return the network."""
    bake(model)
    network = trace(model, shape, digits=digits)
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(x.clone()).numpy()
    found = FloatReference(network).run(x.numpy())
    assert np.allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    assert [layer.final for layer in network.layers] == [False] * (len(network.layers) - 1) + [True]
    assert not network.final.relu
    assert network.final.pool is None
    return network


def kinds(network):
    return [layer.kind for layer in network.layers]


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 5, 3),
        nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 2), bias=False),
        nn.Conv2d(3, 5, (2, 5), padding="same", dilation=(2, 1)),
        nn.Conv2d(3, 5, 3, padding="valid"),
        nn.Conv2d(3, 5, 3, dilation=2, padding=3, stride=3),
        nn.Conv2d(3, 6, 3, groups=3, padding=1),
        nn.Conv2d(3, 3, 3, groups=3, padding=1, padding_mode="zeros"),
        nn.Conv2d(3, 5, 1, padding_mode="circular"),
    ],
)
def test_conv(conv):
    network = check(nn.Sequential(conv))
    assert kinds(network) == ["conv"]
    layer = network.layers[0]
    assert layer.weight_count == conv.weight.numel()
    assert layer.mac_count == conv.weight.numel() * layer.height * layer.width
    assert layer.note == "ternary"


def test_same_padding_with_an_even_kernel_has_its_odd_pixel_at_the_end():
    conv = bake(nn.Conv2d(3, 5, 4, padding="same"))
    network = trace(conv, (3, 9, 8), digits=0)
    x = torch.randn(2, 3, 9, 8)
    with torch.no_grad():
        expected = F.conv2d(F.pad(x, (1, 2, 1, 2)), conv.weight, conv.bias)
    assert np.allclose(FloatReference(network).run(x.numpy()), expected, atol=1e-4)


def test_layers_fold():
    network = check(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 6, 3),
            nn.BatchNorm2d(6),
            nn.MaxPool2d(2, stride=1),
            nn.ReLU(),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(6, 7),
            nn.BatchNorm1d(7),
            nn.ReLU(inplace=True),
            nn.Linear(7, 4),
        )
    )
    assert kinds(network) == ["conv", "conv", "linear", "linear"]
    assert [layer.relu for layer in network.layers] == [True, True, True, False]
    assert [layer.pool is not None for layer in network.layers] == [True, True, False, False]
    assert network.layers[2].groups[0].kernel == (1, 1)


def test_linear_reads_an_image_as_one_kernel():
    network = check(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 7 * 6, 5)))
    assert network.final.groups[0].kernel == (7, 6)
    assert (network.final.height, network.final.width) == (1, 1)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, stride=2),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.MaxPool2d((2, 3), stride=(1, 2), padding=(1, 1)),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, stride=3, ceil_mode=True),
        nn.AdaptiveMaxPool2d((3, 4)),
    ],
)
@pytest.mark.parametrize("fused", [True, False])
def test_max_pool(pool, fused):
    layers = [nn.Conv2d(3, 4, 3, padding=1)] if fused else []
    network = check(nn.Sequential(*layers, pool, nn.Conv2d(4 if fused else 3, 2, 1)))
    assert kinds(network) == (["conv", "conv"] if fused else ["pool", "conv"])


@pytest.mark.parametrize(
    ("border", "fill", "pool", "relu", "rides"),
    [
        ((1, 1, 1, 1), 0.0, nn.MaxPool2d(3, stride=2), True, True),
        ((0, 1, 0, 1), 0.0, nn.MaxPool2d(3, stride=2), True, True),
        ((1, 0, 2, 1), -0.5, nn.MaxPool2d(3, stride=1), True, True),
        ((1, 1, 1, 1), float("-inf"), nn.MaxPool2d(3, stride=2, padding=1), False, True),
        ((1, 1, 1, 1), 0.0, nn.MaxPool2d(3, stride=2), False, False),  # some are below 0
        ((1, 1, 1, 1), 0.5, nn.MaxPool2d(3, stride=2), True, False),
        ((2, 0, 2, 0), 0.0, nn.MaxPool2d(2, stride=2), True, False),  # a window without any
    ],
)
def test_max_pool_over_a_border(border, fill, pool, relu, rides):
    """It rides along where nothing is below what the border is filled with."""
    network = check(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            *([nn.ReLU()] if relu else []),
            nn.ConstantPad2d(border, fill),
            pool,
            nn.Conv2d(4, 2, 1),
        )
    )
    assert (kinds(network) == ["conv", "conv"]) == rides
    assert (network.layers[0].pool is not None) == rides


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(3),
        nn.AvgPool2d(2, stride=1),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.AvgPool2d((2, 3), divisor_override=5),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((3, None)),
        nn.AvgPool2d(3, stride=3, padding=0, count_include_pad=False),
    ],
)
def test_average_pool(pool):
    network = check(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), pool, nn.ReLU(), nn.Conv2d(4, 2, 1))
    )
    assert kinds(network) == ["conv", "pool", "conv"]
    assert network.layers[1].groups[0].shared
    assert network.layers[1].groups[0].trits.shape == (4, 4, 1, 1)
    assert network.layers[1].mac_count == 0


def test_batch_norm_that_cannot_fold():
    before = check(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)))
    assert kinds(before) == ["identity", "conv"]
    after_relu = check(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    )
    assert kinds(after_relu) == ["conv", "identity", "conv"]
    after_pool = check(
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
        )
    )
    assert kinds(after_pool) == ["conv", "identity", "conv"]


def test_batch_norm_after_pool_folds_where_gains_are_not_negative():
    model = bake(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    )
    with torch.no_grad():
        model[2].weight.abs_()
        model[2].weight[1] = 0
    network = trace(model, (3, 9, 8))
    assert kinds(network) == ["conv", "conv"]
    x = torch.randn(2, 3, 9, 8)
    with torch.no_grad():
        assert np.allclose(FloatReference(network).run(x.numpy()), model(x), atol=1e-4)


@pytest.mark.parametrize("last", [nn.ReLU(), nn.MaxPool2d(2), nn.Identity()])
def test_last_layer_is_raw(last):
    network = check(nn.Sequential(nn.Conv2d(3, 4, 3), last))
    assert len(network.layers) == (1 if isinstance(last, nn.Identity) else 2)


def test_network_without_layers():
    assert kinds(check(nn.Sequential(nn.Identity()))) == ["identity"]


def residual(m, x):
    y = F.relu(m.a(x))
    z = m.b(y)
    z += y
    return m.c(F.relu_(z))


def test_residual():
    network = check(
        Lambda(
            residual,
            a=nn.Conv2d(3, 4, 3, padding=1),
            b=nn.Conv2d(4, 4, 3, padding=1),
            c=nn.Conv2d(4, 2, 1),
        )
    )
    assert kinds(network) == ["conv", "conv", "add", "conv"]
    assert [group.source for group in network.layers[2].groups] == ["b", "a"]
    assert network.layers[2].relu


def fire(m, x):
    x = F.max_pool2d(m.a(x), 3, 2, ceil_mode=True)
    squeeze = F.relu(m.bn(m.s(x)))
    return torch.cat([m.e1(squeeze), m.e3(squeeze)], 1)


def test_concat():
    network = check(
        Lambda(
            lambda m, x: m.out(F.relu(m.norm(fire(m, x)))),
            a=nn.Conv2d(3, 4, 3),
            s=nn.Conv2d(4, 2, 1),
            bn=nn.BatchNorm2d(2),
            e1=nn.Conv2d(2, 3, 1),
            e3=nn.Conv2d(2, 5, 3, padding=1),
            norm=nn.BatchNorm2d(8),
            out=nn.Conv2d(8, 4, 2, groups=2),
        )
    )
    # the batch norm after the concatenation folds into both of its sources
    assert kinds(network) == ["conv"] * 5
    assert [(g.source, g.channels, g.rows) for g in network.final.groups] == [
        ("e1", (0, 3), (0, 2)),
        ("e3", (0, 1), (0, 2)),
        ("e3", (1, 5), (2, 4)),
    ]


def dense(m, x):
    y = m.a(x)
    z = torch.cat([y, m.b(F.relu(m.norm_1(y)))], 1)
    return torch.cat([z, m.c(F.relu(m.norm_2(z)))], 1)


def dense_layers():
    return {
        "a": nn.Conv2d(3, 4, 3, padding=1),
        "b": nn.Conv2d(4, 2, 3, padding=1),
        "c": nn.Conv2d(6, 3, 1),
        "norm_1": nn.BatchNorm2d(4),
        "norm_2": nn.BatchNorm2d(6),
        "norm_3": nn.BatchNorm2d(9),
        "d": nn.Conv2d(9, 4, 1),
        "fc": nn.Linear(9 * 8 * 9, 4),
        "fc_part": nn.Linear(5, 4),
    }


def after_dense(m, x):
    return F.relu(m.norm_3(dense(m, x)))


def permuted(m, x):
    y = after_dense(m, x)
    return m.d(torch.cat([y[:, 5:], y[:, :5].flip(1)], 1))


@pytest.mark.parametrize(
    "function, layers",
    [
        # "c" alone is not read before its norm, which folds into it
        (lambda m, x: m.d(after_dense(m, x)), ["a", "relu", "b", "relu_1", "c", "relu_2", "d"]),
        (permuted, ["a", "relu", "b", "relu_1", "c", "relu_2", "d"]),
        (lambda m, x: m.fc(after_dense(m, x).flatten(1)), None),
        (lambda m, x: m.fc_part(after_dense(m, x)[:, 1:6].amax((2, 3))), None),
        (lambda m, x: m.d(F.max_pool2d(F.silu(dense(m, x)), 3, 2, 1)), None),
        (lambda m, x: m.d((lambda y: y + F.hardtanh(y, -0.5, 0.7))(dense(m, x))), None),
        (lambda m, x: m.d(F.relu(F.relu(dense(m, x)) - 0.3)), None),
    ],
)
def test_functions_of_a_concatenation_that_others_read(function, layers):
    """One layer a call: its tensor is what the next layer reads."""
    network = check(Lambda(function, **dense_layers()))
    if layers is not None:
        assert [layer.name for layer in network.layers] == layers
        norm = network.layers[-2]
        assert len(norm.groups) == 2 and norm.rows == 6
        assert {group.source for group in network.final.groups} == {"relu_2", "c"}


CALLS = {
    "two readers": (lambda m, x: (lambda y: m.b(torch.relu(y)) + m.c(y))(m.a(x)), 5),
    "twice the same": (lambda m, x: (lambda y: m.b(y + y))(m.a(x)), 2),
    "cat the same": (lambda m, x: (lambda y: m.d(torch.cat((y, y), dim=1)))(m.a(x).relu()), 2),
    "shared weights": (lambda m, x: m.b(m.b(m.a(x)).relu()), 3),
    "subtract": (lambda m, x: m.b(m.a(x)) - m.c(m.a(x)), 5),
    "constants": (lambda m, x: m.b(2 * m.a((x - 0.5) / 0.25) + 1) * -3, 3),
    "one minus": (lambda m, x: m.b(1 - m.a(x)), 2),
    "subtract from a read value": (
        lambda m, x: (lambda y, z: m.c(torch.cat([y - z, z], 2)) + m.c(torch.cat([y, z], 2)))(
            m.a(x), m.b(m.a(x)).relu()
        ),
        9,
    ),
    "negate": (lambda m, x: m.b(-m.a(x).neg()), 2),
    "mean": (lambda m, x: m.fc(m.a(x).mean((2, 3))), 3),
    "mean keepdim": (lambda m, x: m.b(torch.mean(m.a(x), [-1, -2], keepdim=True)), 3),
    "squeeze": (lambda m, x: m.fc(F.adaptive_avg_pool2d(m.a(x), 1).squeeze()), 3),
    "view": (lambda m, x: m.fc(F.avg_pool2d(m.a(x), (9, 8)).view(x.size(0), -1)), 3),
    "view -1": (lambda m, x: m.fc(F.avg_pool2d(m.a(x), (9, 8)).view(-1, 4)), 3),
    "reshape": (
        lambda m, x: m.fc(torch.reshape(F.avg_pool2d(m.a(x), (9, 8)), (x.shape[0], -1))),
        3,
    ),
    "chunk": (lambda m, x: (lambda p: m.e(p[1].relu()) + m.e(p[0]))(m.a(x).chunk(2, 1)), 5),
    "split": (
        lambda m, x: (lambda y, p: m.d(torch.cat([p[0], y, p[1]], 1)))(
            m.b(m.a(x)), torch.split(m.a(x), [1, 3], 1)
        ),
        4,
    ),
    "relu6": (lambda m, x: m.b(F.relu6(m.a(x * 4))), 2),
    "hardtanh": (lambda m, x: m.b(F.max_pool2d(F.hardtanh(m.a(x), 0.0, 1.5), 2)), 2),
    "clamp": (lambda m, x: m.b(m.a(x).clamp(min=0)), 2),
    "in place": (lambda m, x: (lambda y: m.b(y.relu_()) + m.c(y))(m.a(x)), 4),
    "in place unused": (lambda m, x: (lambda y: (y.relu_(), m.c(y))[1])(m.a(x)), 2),
    "in place alias": (
        lambda m, x: (
            lambda y: (lambda z: m.b(F.max_pool2d(z, 2)) + F.max_pool2d(m.c(y), 2))(
                F.relu_(F.dropout(y, 0.5, False))
            )
        )(m.a(x)),
        5,
    ),
    "unused layer": (lambda m, x: (m.b(m.a(x)), m.c(m.a(x)))[0], 2),
    "buffer": (
        lambda m, x: m.b(
            (m.a(x) - m.bn.running_mean.view(1, -1, 1, 1)) / m.bn.running_var[:, None, None]
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    function, count = CALLS[name]
    network = check(
        Lambda(
            function,
            a=nn.Conv2d(3, 4, 3, padding=1),
            b=nn.Conv2d(4, 4, 1),
            c=nn.Conv2d(4, 4, 1),
            d=nn.Conv2d(8, 4, 1),
            e=nn.Conv2d(2, 4, 1),
            fc=nn.Linear(4, 5),
            bn=nn.BatchNorm2d(4),
        )
    )
    assert len(network.layers) == count


def test_trailing_softmax_is_dropped():
    model = bake(nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.LogSoftmax(dim=1)))
    network = trace(model, (3, 2, 2), digits=0)
    assert network.final.note == "ternary; the log_softmax after it is left to the host"
    x = torch.randn(5, 3, 2, 2)
    with torch.no_grad():
        logits = torch.from_numpy(FloatReference(network).run(x.numpy())[:, :, 0, 0])
        assert torch.allclose(logits.log_softmax(1), model(x), atol=1e-4)


def test_features():
    model = bake(nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)))
    network = trace(model, (7,), digits=0)
    x = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    assert np.allclose(FloatReference(network).run(x)[:, :, 0, 0], expected, atol=1e-4)


def test_depthwise_with_many_channels_stays_within_a_tile():
    network = check(nn.Sequential(nn.Conv2d(3, 70, 1), nn.Conv2d(70, 70, 3, groups=70)))
    assert len(network.final.groups) <= 16
    assert network.final.weight_count == 70 * 9


def test_multi_bit_weights_become_planes():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(168, 5)).eval()
    network = trace(model, (3, 9, 8))
    first, last = network.layers
    for layer in (first, last):
        assert "weights rounded" in layer.note
        assert 0 < layer.weight_error < 0.01
        assert 4 < len(layer.groups) <= 8
        assert f"sums of {len(layer.groups)} ternary planes" in layer.note
    assert np.unique(last.gain).size == 1
    assert np.unique(first.gain).size == 4
    with pytest.raises(ExportError, match=r"tensor 0\.weight is not ternary"):
        trace(model, (3, 9, 8), digits=0)


def test_random_modules():
    rng = np.random.default_rng(11)
    for _ in range(40):
        channels, layers = 3, []
        for _ in range(int(rng.integers(1, 5))):
            rows = int(rng.integers(1, 7))
            layers.append(
                nn.Conv2d(
                    channels,
                    rows,
                    int(rng.integers(1, 4)),
                    padding=1,
                    stride=int(rng.integers(1, 3)),
                    bias=bool(rng.integers(2)),
                )
            )
            channels = rows
            extras = [
                nn.BatchNorm2d(rows),
                nn.ReLU(),
                nn.MaxPool2d(2, 1, 1),
                nn.AvgPool2d(1, 1),
                nn.AvgPool2d(2, 1, 1),
            ]
            layers += [extras[n] for n in rng.permutation(5)[: int(rng.integers(0, 5))]]
        check(nn.Sequential(*layers), (3, 12, 11))


def refused(function, message, shape=(3, 9, 8)):
    model = function if isinstance(function, nn.Module) else Lambda(function)
    with pytest.raises(ExportError, match=message):
        trace(model, shape)


def test_unsupported():
    refused(lambda m, x: x.cumsum(2), "layer cumsum, test_trace.py line [0-9]+: cumsum is not")
    refused(lambda m, x: x * x.mean(1, keepdim=True), "the product of two activations")
    refused(lambda m, x: x @ x, "the product of two activations", (2, 6, 6))
    refused(lambda m, x: F.relu(x) if x.sum() > 0 else x, "decides by the value of an activation")
    refused(lambda m, x: x * float(x.numpy().mean()), "numpy takes an activation's values out")
    refused(nn.Conv2d(3, 2, 1, device="meta"), "weights on the device meta, which have no values")
    refused(lambda m, x: F.softmax(x, 1) + 1, "a softmax that is not the network's end")
    refused(lambda m, x: (x, x), "returns 2 results; it must return one tensor")
    refused(lambda m, x: {"logits": x}, r"returns a dictionary \(logits\)")
    refused(lambda m, x: F.max_pool2d(x, 2, dilation=2), "max-pool with dilation")
    refused(
        lambda m, x: F.relu(x, bogus=1), r"cannot be run on samples of shape \(.*\): .*TypeError"
    )
    refused(lambda m, x: F.dropout(x, 0.3), "dropout is random in evaluation mode too")
    refused(lambda m, x: x + torch.randn(3, 1, 1), "randn is random in evaluation mode too")
    refused(lambda m, x: x - x.mean(0), "from others of the batch")
    refused(lambda m, x: x.flatten(2).max(2)[1].float(), "uses result 2 of max")
    refused(lambda m, x: x.argmax(1), "return the scores")
    refused(nn.Sequential(nn.LayerNorm([3, 9, 8])), r"layer 0 \(LayerNorm\): layer_norm is not")
    refused(nn.InstanceNorm2d(3), "takes its mean and variance from the batch")
    refused(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "from the batch")


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


def test_shapes_that_do_not_match():
    refused(nn.Sequential(nn.Conv2d(4, 2, 1)), "layer 0: RuntimeError: Given groups=1")
    refused(
        nn.Sequential(nn.Flatten(), nn.Linear(5, 2)),
        r"of shape \(3, 9, 8\): layer 1: RuntimeError: mat1",
    )
    refused(nn.Sequential(nn.Conv2d(3, 2, 11)), "Kernel size can't be greater than actual input")
    refused(lambda m, x: torch.cat([x, x[:, :, 1:]], 1), "trace.py line [0-9]+: RuntimeError")
    refused(Lambda(lambda m, x: m.a(x.double()), a=nn.Conv2d(3, 2, 1)), "must not cast to another")
    refused(nn.Conv2d(3, 2, 1), "channels come last, x.transpose", (9, 8, 3))
    refused(TwoInputs(), r"takes 2 inputs \(x, y\); one is supported")


@pytest.mark.parametrize("tensor", ["weight", "bias", "running_mean"])
def test_not_finite(tensor):
    model = bake(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)))
    with torch.no_grad():
        (getattr(model[1], tensor) if tensor == "running_mean" else getattr(model[0], tensor)).view(
            -1
        )[0] = float("nan")
    with pytest.raises(ExportError, match=rf"tensor \d\.{tensor} has 1 values that are NaN"):
        trace(model, (3, 4, 4))


def test_tracing_leaves_the_module_alone():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2).eval(), nn.Dropout())
    model[0].train()
    trace(model, (3, 4, 4))
    assert [model.training, *(m.training for m in model)] == [True, True, False, True]
