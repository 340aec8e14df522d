"""Sums at write-back: which layers take them over, in real numbers, integers and memories."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.model_export.networks import compile_network
from tritforge.hw.config import Config
from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.in_place import check_sums, places
from tritforge.model_export.memory.placement import place
from tritforge.model_export.memory.streaming import emit_streamed
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.quantize import quantize
from tritforge.model_export.passes.sums import coarse_sums, fuse_sums
from tritforge.model_export.reference import FloatReference, before_sum
from tritforge.sim.golden import GoldenModel, quantize_input
from tritforge.sim.host import HostTensors
from tritforge.sim.interpreter import Interpreter

CONFIG = Config(
    write_back_sums=True,
    trit_depth=1 << 14,
    activation_depth=1 << 13,
    program_depth=1 << 13,
    row_depth=1 << 10,
)
CHANNELS, SIZE = 6, 5
SHAPE = (3, SIZE, SIZE)


def conv(channels=CHANNELS, rows=CHANNELS, kernel=3, stride=1):
    torch.manual_seed(channels + 7 * rows + 31 * kernel)
    made = nn.Conv2d(channels, rows, kernel, stride, padding=kernel // 2)
    with torch.no_grad():
        made.weight.copy_(torch.sign(made.weight) * (made.weight.abs() > 0.05) * 0.2)
    return made


class Model(nn.Module):
    """A conv, ``body`` of what it gives, a conv."""

    def __init__(self, body, *, relu=True, rows=CHANNELS):
        super().__init__()
        self.first, self.last = conv(3), conv(rows, 4)
        self.a, self.b, self.c = conv(), conv(), conv(kernel=1)
        self.wide, self.wider = conv(CHANNELS, 2 * CHANNELS, 3, 2), conv(2 * CHANNELS, 12)
        self.projected = conv(CHANNELS, 2 * CHANNELS, 1, 2)
        self.body, self.relu = body, relu

    def forward(self, x):
        x = self.first(x)
        x = self.body(self, F.relu(x) if self.relu else x)
        return self.last(x)


def identity(m, x):
    return F.relu(x + m.b(F.relu(m.a(x))))


def chain(m, x):
    x = identity(m, identity(m, x))
    return F.relu(x + m.c(m.b(x)))


def projection(m, x):
    return F.relu(m.wider(F.relu(m.wide(x))) + m.projected(x))


def projection_first(m, x):
    skip = m.projected(x)
    return F.relu(skip + m.wider(F.relu(m.wide(x))))


def padded(m, x):
    skip = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3))
    return F.relu(m.wider(F.relu(m.wide(x))) + skip)


def linear(m, x):  # the stream is signed
    x = x + m.b(F.relu(m.a(x)))
    return x + m.c(F.relu(m.a(x)))


def mixed_signs(m, x):
    return F.relu(x + m.b(m.a(x))) - 0.0


def from_relu_to_signed(m, x):
    return x + m.b(m.a(x))


def three(m, x):  # the two that can be added both read the third
    return F.relu(m.a(x) + m.b(x) + x)


def scaled(m, x):
    return F.relu(0.5 * m.b(F.relu(m.a(x))) - 0.25 + x)


def relu_before(m, x):
    return x + F.relu(m.b(F.relu(m.a(x))))


def read_again(m, x):
    y = F.relu(x + m.b(F.relu(m.a(x))))
    return m.c(x) + m.a(F.relu(y))


def reads_itself(m, x):
    return F.relu(x + m.a(x))


def of_input_shape(m, x):
    return F.relu(m.a(x) + m.b(x))


#: Body; keyword arguments; layers that add, copies among what they add to.
CASES = {
    "identity": (identity, {}, 1, 0),
    "chain": (chain, {}, 3, 0),
    "projection": (projection, {"rows": 12}, 1, 0),
    "projection first": (projection_first, {"rows": 12}, 1, 0),
    "padded shortcut": (padded, {"rows": 12}, 1, 1),
    "signed stream": (linear, {"relu": False}, 2, 0),
    "a sum of another sign": (mixed_signs, {"relu": False}, 1, 0),
    "a sum that becomes signed": (from_relu_to_signed, {}, 1, 0),
    "three tensors": (three, {}, 1, 0),
    "a scaled sum": (scaled, {}, 1, 0),
    "ReLU before the sum": (relu_before, {}, 1, 0),
    "a tensor that is read again": (read_again, {}, 2, 1),
    "a conv of what it is added to": (reads_itself, {}, 1, 1),
    "two convs": (of_input_shape, {}, 1, 0),
}


def samples(count=24):
    return np.random.default_rng(3).normal(size=(count, *SHAPE)).astype(np.float32)


def traced(body, options):
    model = Model(body, **options).eval()
    return model, trace(model, SHAPE)


@pytest.mark.parametrize("name", CASES)
def test_real_numbers(name):
    body, options, adding, copies = CASES[name]
    model, network = traced(body, options)
    before = [layer.name for layer in network.layers]
    fused, sums = fuse_sums(network)
    assert [layer.name for layer in network.layers] == before  # it is not changed
    assert sum(layer.addend is not None for layer in fused.layers) == adding, sums
    assert sum(one.copied for one in sums) == copies
    for one in sums if body is not three else sums[:1]:
        assert fused.layer(one.layer).addend is not None
        assert one.name not in [layer.name for layer in fused.layers]
    check_sums(fused)
    x = samples()
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(FloatReference(fused).run(x), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_integers_in_memory(name):
    """Scales are tied, sums are near the real ones, and stand in the place of what was there."""
    body, options, _, _ = CASES[name]
    fused, _ = fuse_sums(traced(body, options)[1])
    x = samples()
    network = quantize(calibrate(fused, x), CONFIG)
    together = places(network)
    for name, first in together.items():
        assert network.tensors[name].scale == network.tensors[first].scale
    codes = quantize_input(x, network.tensors["input"])
    golden = GoldenModel(network).run_all(codes)
    real = FloatReference(fused).run_all(x)
    for layer in network.layers:
        if layer.addend is not None:
            tensor = network.tensors[layer.output]
            error = golden[layer.output] * tensor.scale - real[layer.output]
            assert np.sqrt((error**2).mean()) < 0.02 * np.abs(real[layer.output]).max(), layer.name
            assert not layer.relu_of_sum or not tensor.signed
    memory = compile_network(network, CONFIG)
    for name, first in together.items():
        if name in memory.tensors:
            assert memory.tensors[name].base == memory.tensors[first].base
            np.testing.assert_array_equal(memory.tensors[name].lane, memory.tensors[first].lane)
    interpreter = Interpreter(CONFIG, memory)
    for image in range(2):
        interpreter.load(memory.tensors["input"].base, memory.input_words(codes[image]))
        interpreter.run(memory.layers[0].address, len(network.layers))
        entries = interpreter.results[: memory.results.entries]
        np.testing.assert_array_equal(
            memory.results_from_entries(entries), golden[network.final.output][image]
        )


@pytest.mark.parametrize("name", CASES)
def test_streamed(name):
    """Where tensors stay with the host, what is added to comes in where the sum goes out."""
    body, options, _, _ = CASES[name]
    x = samples()
    network = quantize(calibrate(fuse_sums(traced(body, options)[1])[0], x), CONFIG)
    depth = compile_network(network, CONFIG).activation_words
    codes = quantize_input(x[:1], network.tensors["input"])
    expected = GoldenModel(network).run(codes)[0]
    strips = 0
    for share in (0.9, 0.7, 0.5, 0.35, 0.2):
        config = dataclasses.replace(CONFIG, activation_depth=int(depth * share))
        try:
            memory = emit_streamed(network, place(network, config), config)
        except ExportError:
            break
        strips += any(
            strip.tensor == layer.addend
            for one in memory.schedule.passes
            for layer in [network.layer(one.layer)]
            for strip in one.loads
        )
        for eager in (False, True):
            host, interpreter = HostTensors(memory), Interpreter(config, memory)
            host.write("input", codes[0])
            interpreter.run_schedule(host, range(len(memory.schedule.passes)), eager=eager)
            place_ = memory.results
            entries = interpreter.results[place_.base : place_.base + place_.entries]
            np.testing.assert_array_equal(memory.results_from_entries(entries), expected)
    assert strips


def pooled(m, x):
    return F.max_pool2d(x + m.b(m.a(x)), 2)


def clamped(m, x):
    return F.relu6(x + m.b(m.a(x)))


def curved(m, x):
    return F.silu(x + m.b(m.a(x)))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (pooled, "a max-pool follows"),
        (clamped, "a clamp other than ReLU follows"),
        (curved, "follows"),
    ],
)
def test_sums_that_stay_layers(body, reason):
    _, network = traced(body, {})
    fused, (one,) = fuse_sums(network)
    assert one.layer is None and reason in one.reason
    assert fused is network


def ranges_of(network, sizes, added=0.4):
    """As if tensors along the stream went to ``sizes``, the first, then every sum."""
    ranges = dict.fromkeys(network.tensors, (0.0, sizes[0]))
    adding = [layer for layer in network.layers if layer.addend is not None]
    for layer, size in zip(adding, sizes[1:], strict=True):
        ranges[layer.output] = (0.0, size)
        ranges[before_sum(layer)] = (-added * size, added * size)
    return ranges


def test_sums_that_need_a_much_coarser_scale_stay_layers():
    _, network = traced(chain, {})
    fused, _ = fuse_sums(network)
    adding = [layer.output for layer in fused.layers if layer.addend is not None]
    for sizes, numbers in (
        ((1, 1, 1, 1), ()),
        ((1, 1.1, 1.1, 1.2), ()),
        ((1, 1, 1, 20), (2,)),  # all else but the last is rounded at its own scale
        ((20, 1, 1, 1), (0,)),
        ((1, 1, 20, 20), (1,)),
    ):
        coarse = coarse_sums(fused, ranges_of(fused, sizes))
        assert coarse == {adding[number] for number in numbers}, sizes
    again, separate = fuse_sums(network, adding)
    assert again is network
    assert [one.layer for one in separate] == [None] * 3
    assert {one.reason for one in separate} == {"what it is added to needs a finer scale"}
    kept, some = fuse_sums(network, adding[:1])
    assert [one.layer is None for one in some] == [True, False, False]
    check_sums(kept)


def joined(m, x):  # rows of one tensor, then rows of the other
    return F.relu(torch.cat([m.a(x), m.b(x)], 1) * torch.linspace(0.5, 2, 12)[:, None, None])


def test_what_joins_tensors_is_no_sum():
    _, network = traced(joined, {"rows": 12})
    fused, sums = fuse_sums(network)
    assert fused is network and sums == []


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = conv(3), conv()

    def forward(self, x):
        x = F.relu(self.first(x))
        return x + self.second(x)


def test_the_networks_output_is_no_sum_at_write_back():
    _, sums = fuse_sums(trace(Last(), SHAPE))
    assert [one.layer for one in sums] in ([], [None])


def quantized(**changes):
    network = quantize(calibrate(fuse_sums(traced(identity, {})[1])[0], samples()), CONFIG)
    index = next(n for n, layer in enumerate(network.layers) if layer.addend is not None)
    layers = list(network.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return dataclasses.replace(network, layers=layers), layers[index]


def test_hardware_without_sums_is_told():
    network, layer = quantized()
    config = dataclasses.replace(CONFIG, name="plain", write_back_sums=False)
    with pytest.raises(
        ExportError,
        match=rf"^layer {layer.name} adds to tensor \w+ as it writes; configuration plain has no "
        r"write_back_sums: export the network for it$",
    ):
        compile_network(network, config)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"addend": "nowhere"}, "which no layer before it has written"),
        ({"addend": "input"}, "which is the network's input"),
        ({"addend": "a"}, "which it reads itself"),
    ],
)
def test_tensors_that_cannot_be_added_to(change, fault):
    network, layer = quantized(**change)
    with pytest.raises(ExportError, match=f"^layer {layer.name} adds to tensor .*, {fault}$"):
        check_sums(network)


def test_a_tensor_of_another_scale_or_read_later_is_refused():
    network, layer = quantized()
    stored = network.tensors[layer.addend]
    with pytest.raises(ExportError, match=r"of scale 9; that of its sums is"):
        check_sums(
            dataclasses.replace(
                network,
                tensors=network.tensors | {stored.name: dataclasses.replace(stored, scale=9.0)},
            )
        )
    final = network.final
    late = [dataclasses.replace(final.groups[0], source=stored.name)]
    changed = dataclasses.replace(final, groups=late)
    with pytest.raises(ExportError, match=f"which layer {layer.name} has added to in place$"):
        check_sums(dataclasses.replace(network, layers=[*network.layers[:-1], changed]))
    rule = dataclasses.replace(layer.requantization, low=-300)
    with pytest.raises(ExportError, match=r"clamps its values to -300 \.\. 255, beyond 9 bits$"):
        check_sums(quantized(requantization=rule)[0])
