"""The golden model against plain integers and against the module that a network comes from."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.model_export.errors import ExportError
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.network import (
    ColumnGroup,
    Layer,
    Network,
    Pool,
    Requantization,
    Tensor,
)
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.quantize import quantize
from tritforge.sim.golden import (
    GoldenModel,
    check_codes,
    quantize_input,
    requantize,
    requantize_rows,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


# ----- rounding


def test_requantize_is_the_formula():
    rng = np.random.default_rng(0)
    acc = rng.integers(-(2**31), 2**31, 2000)
    multiplier = rng.integers(-(2**17), 2**17, 2000)
    bias = rng.integers(-(2**40), 2**40, 2000)
    shift = rng.integers(0, 50, 2000)
    found = requantize(acc, multiplier, bias, shift, -128, 127)
    for n, value in enumerate(found):
        total = int(acc[n]) * int(multiplier[n]) + int(bias[n]) + (1 << int(shift[n]) >> 1)
        assert value == min(max(total >> int(shift[n]), -128), 127)


def test_halves_round_up():
    assert requantize(np.arange(-8, 9), 1, 0, 2, -128, 127).tolist() == [
        -2,
        -2,
        -1,
        -1,
        -1,
        -1,
        0,
        0,
        0,
        0,
        1,
        1,
        1,
        1,
        2,
        2,
        2,
    ]
    assert requantize(np.array([5]), 3, -20, 0, -128, 127).tolist() == [-5]
    assert requantize(np.array([5, -5]), 300, 0, 0, 0, 255).tolist() == [255, 0]


@pytest.mark.parametrize(("low", "high"), [(-128, 127), (0, 255)])
def test_a_table_replaces_codes(low, high):
    """Entry ``c & 0xFF`` is what code c becomes, whatever the range of the output."""
    rng = np.random.default_rng(3)
    acc = rng.integers(-400, 400, (2, 3, 4, 5))
    ones, zeros = np.ones(3, np.int64), np.zeros(3, np.int64)
    plain = Requantization(ones, zeros, zeros, low, high)
    for output_low, output_high in ((-128, 127), (0, 255)):
        table = rng.integers(output_low, output_high + 1, 256)
        found = requantize_rows(acc, dataclasses.replace(plain, table=table))
        for index, code in np.ndenumerate(requantize_rows(acc, plain)):
            assert found[index] == table[code if code >= 0 else code + 256]


def test_bad_tables():
    ones = np.ones(3, np.int64)
    with pytest.raises(ValueError, match=r"has 256 entries, not the shape \(255,\)"):
        Requantization(ones, ones, ones, 0, 255, np.zeros(255, np.int64))
    for least, most in ((-1, 128), (0, 256), (-129, 0)):
        table = np.zeros(256, np.int64)
        table[[3, 200]] = least, most
        with pytest.raises(ValueError, match=f"holds codes from {least} to {most}; codes go from"):
            Requantization(ones, ones, ones, 0, 255, table)


# ----- input


def tensor(signed=False, scale=0.5):
    return Tensor("input", 2, 1, 3, scale, signed)


def test_quantize_input():
    x = np.array([-9, -0.25, 0.25, 0.75, 1.2, 1000], np.float32).reshape(1, 2, 1, 3)
    assert quantize_input(x, tensor()).ravel().tolist() == [0, 0, 0, 2, 2, 255]
    assert quantize_input(x * 10, tensor(True)).ravel().tolist() == [-128, -5, 5, 15, 24, 127]


def test_integers_are_real_numbers_too():
    x = np.array([0, 1, 2, 3, 4, 255], np.uint8).reshape(1, 2, 1, 3)
    assert quantize_input(x, tensor()).ravel().tolist() == [0, 2, 4, 6, 8, 255]
    assert check_codes(x, tensor()).ravel().tolist() == [0, 1, 2, 3, 4, 255]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 1, 3)), r"input has shape \(2, 1, 3\); expected is \(images, 2, 1, 3\)"),
        (np.zeros((4, 2, 3, 1)), r"expected is \(images, 2, 1, 3\)"),
        (np.zeros((0, 2, 1, 3)), "input is empty"),
        (np.full((1, 2, 1, 3), np.nan), "6 values that are NaN"),
        (np.full((1, 2, 1, 3), True), "must be an array of numbers"),
        (np.full((1, 2, 1, 3), 1j), "must be an array of numbers"),
    ],
)
def test_bad_input(x, message):
    with pytest.raises(ExportError, match=message):
        quantize_input(x, tensor())


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.full((1, 2, 1, 3), 256), r"codes from 256 to 256; .* from 0 to 255"),
        (np.full((1, 2, 1, 3), -1), r"codes from -1 to -1"),
        (np.zeros((1, 2, 1, 3)), "must be integers, not float64"),
        (np.zeros((4, 2, 3, 1), int), r"expected is \(images, 2, 1, 3\)"),
    ],
)
def test_bad_codes(codes, message):
    with pytest.raises(ExportError, match=message):
        check_codes(codes, tensor())


def test_input_without_scale():
    with pytest.raises(ExportError, match="has no scale"):
        quantize_input(np.zeros((1, 2, 1, 3)), tensor(scale=0.0))


# ----- against plain loops


def met(group, axis, output, tap):
    """The source's row (column) that a kernel position meets, -1 for none."""
    window = group.windows[axis]
    if window is None:
        return output * group.stride[axis] - group.padding[axis] + tap * group.dilation[axis]
    if not window.begin[output] <= tap < window.end[output]:
        return -1
    return window.first[output] + tap * group.dilation[axis]


def plain_accumulators(layer, sources):
    """One image; the definition of a column group, literally."""
    result = np.zeros((layer.rows, layer.height, layer.width), np.int64)
    for group in layer.groups:
        x = sources[group.source][group.channels[0] : group.channels[1]]
        for oy in range(layer.height):
            for ox in range(layer.width):
                for ky in range(group.kernel[0]):
                    for kx in range(group.kernel[1]):
                        y, z = met(group, 0, oy, ky), met(group, 1, ox, kx)
                        if not (0 <= y < x.shape[1] and 0 <= z < x.shape[2]):
                            continue
                        trits = group.trits[
                            :, :, 0 if group.shared else ky, 0 if group.shared else kx
                        ]
                        for row, column in np.argwhere(trits):
                            weight = (
                                group.coefficient_plus
                                if trits[row, column] > 0
                                else -group.coefficient_minus
                            )
                            result[group.rows[0] + row, oy, ox] += weight * x[column, y, z]
    return result


def plain_output(layer, accumulators):
    rows = layer.requantization
    codes = np.zeros_like(accumulators)
    for index in np.ndindex(*accumulators.shape):
        row = index[0]
        shift = int(rows.shift[row])
        total = (
            int(accumulators[index]) * int(rows.multiplier[row])
            + int(rows.bias[row])
            + (1 << shift >> 1)
        )
        codes[index] = min(max(total >> shift, rows.low), rows.high)
    pool = layer.pool
    if pool is None:
        return codes
    result = np.zeros((layer.rows, pool.height, pool.width), np.int64)
    for row, py, px in np.ndindex(*result.shape):
        y, x = py * pool.stride[0] - pool.padding[0], px * pool.stride[1] - pool.padding[1]
        result[row, py, px] = codes[
            row, max(y, 0) : y + pool.kernel[0], max(x, 0) : x + pool.kernel[1]
        ].max()
    return result


def compare(model, shape, config=PRESETS["tiny"], seed=0, positive=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    x = np.abs(x) if positive else x
    network = quantize(calibrate(trace(model.eval(), shape), x), config)
    codes = quantize_input(x, network.tensors["input"])
    golden = GoldenModel(network)
    found = golden.run_all(codes, accumulators=True)
    assert np.array_equal(golden.run(codes), found[network.final.output])
    for image in range(len(codes)):
        sources = {"input": codes[image]}
        for layer in network.layers:
            accumulators = plain_accumulators(layer, sources)
            assert np.array_equal(found[f"{layer.name}.accumulators"][image], accumulators)
            assert (accumulators <= layer.accumulator_high[:, None, None]).all()
            assert (accumulators >= layer.accumulator_low[:, None, None]).all()
            output = plain_output(layer, accumulators)
            assert np.array_equal(found[layer.output][image], output)
            sources[layer.output] = output
    for layer in network.layers:
        alone = golden.run_layer(layer.name, found)
        assert np.array_equal(alone.output, found[layer.output])
        assert np.array_equal(alone.accumulators, found[f"{layer.name}.accumulators"])
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    result = found[network.final.output].reshape(expected.shape) * network.final.result_scale
    # 8-bit activations: a few percent of the largest value
    assert np.abs(result - expected).max() <= 0.12 * np.abs(expected).max()
    return network


MODELS = {
    "stride": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, (2, 3), stride=(1, 2))
    ),
    "dilation": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, dilation=2, padding=3), nn.ReLU(), nn.Conv2d(4, 3, 2, dilation=(1, 3))
    ),
    "groups": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3), nn.ReLU(), nn.Conv2d(6, 4, 1, groups=2)
    ),
    "overlapping pool": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(4, 3, 1),
        nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(3, 2, 1),
    ),
    "pool that leaves pixels out": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 2), nn.MaxPool2d(2, 3), nn.Conv2d(4, 2, 1)
    ),
    "average": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    ),
    "linear": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(168, 6),
        nn.ReLU(),
        nn.Linear(6, 4),
    ),
    "batch norm": lambda: nn.Sequential(
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 2, 1),
        nn.BatchNorm2d(2),
    ),
    "ends with relu": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
}


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_integers(name, positive):
    torch.manual_seed(len(name))
    model = MODELS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    compare(model, (3, 7, 6), positive=positive)


class Block(nn.Module):
    """Residual and concatenation, ternary with negative Wp."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(8, 5, 1)
        rng = torch.Generator().manual_seed(8)
        for conv in (self.a, self.b, self.c):
            trits = torch.randint(-1, 2, conv.weight.shape, generator=rng)
            trits[1] = 0
            values = torch.where(trits > 0, -0.71154, torch.where(trits < 0, 0.3, 0.0))
            conv.weight.data.copy_(values)

    def forward(self, x):
        y = self.a(x).relu()
        z = (self.b(y) + y).relu()
        return self.c(torch.cat([z, y], 1))


def test_residual_and_concatenation():
    network = compare(Block(), (3, 5, 6), positive=True)
    assert [layer.kind for layer in network.layers] == ["conv", "conv", "add", "conv"]


@pytest.mark.parametrize("width", [24, 28, 32])
def test_wide_accumulators_are_exact(width):
    # sums beyond 2**24 on purpose: odd coefficients, all codes at their largest
    rng = np.random.default_rng(width)
    trits = rng.integers(-1, 2, (4, 5000, 1, 1)).astype(np.int8)
    trits[0] = 1
    layer = Layer(
        "fc",
        "linear",
        "fc",
        4,
        1,
        1,
        [ColumnGroup("input", (0, 5000), (0, 4), trits, (1, 1), 0.51101, 0.50901)],
        np.ones(4),
        np.zeros(4),
        final=True,
    )
    tensors = {"input": Tensor("input", 5000, 1, 1, 1.0), "fc": Tensor("fc", 4, 1, 1, 1.0)}
    network = quantize(Network("n", "input", tensors, [layer]), Config(accumulator_width=width))
    codes = rng.integers(0, 256, (3, 5000, 1, 1))
    codes[0] = 255
    group = network.layers[0].groups[0]
    weights = np.where(
        trits > 0, group.coefficient_plus, np.where(trits < 0, -group.coefficient_minus, 0)
    )[:, :, 0, 0]
    found = GoldenModel(network).run_all(codes, accumulators=True)["fc.accumulators"]
    assert np.array_equal(found[:, :, 0, 0], codes[:, :, 0, 0] @ weights.T.astype(np.int64))
    assert found[0, 0, 0, 0] == network.layers[0].accumulator_high[0]
    assert (found.max() > 1 << 24) == (width > 25)


def test_pool_of_negative_codes_ignores_padding():
    layer = Layer(
        "p",
        "pool",
        "p",
        1,
        2,
        2,
        [ColumnGroup("input", (0, 1), (0, 1), np.ones((1, 1, 1, 1), np.int8), (1, 1), 1.0, 1.0)],
        np.ones(1),
        np.zeros(1),
        pool=Pool((2, 2), (1, 1), (1, 1), 3, 3),
    )
    end = Layer(
        "end",
        "identity",
        "end",
        1,
        3,
        3,
        [ColumnGroup("p", (0, 1), (0, 1), np.ones((1, 1, 1, 1), np.int8), (1, 1), 1.0, 1.0)],
        np.ones(1),
        np.zeros(1),
        final=True,
    )
    tensors = {
        "input": Tensor("input", 1, 2, 2, 1.0, True),
        "p": Tensor("p", 1, 3, 3, 1.0, True),
        "end": Tensor("end", 1, 3, 3, 1.0, True),
    }
    network = quantize(Network("n", "input", tensors, [layer, end]), PRESETS["tiny"])
    found = GoldenModel(network).run_all(np.array([[[[-9, -8], [-7, -6]]]]))["p"]
    assert found[0, 0].tolist() == [[-9, -8, -8], [-7, -6, -6], [-7, -6, -6]]


def test_batches_make_no_difference(monkeypatch):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    x = np.random.default_rng(0).normal(size=(7, 3, 5, 5))
    network = quantize(calibrate(trace(model, (3, 5, 5)), x), PRESETS["tiny"])
    codes = quantize_input(x, network.tensors["input"])
    whole = GoldenModel(network).run(codes)
    monkeypatch.setattr("tritforge.model_export.reference._BATCH_VALUES", 2 * 4 * 9)
    assert np.array_equal(GoldenModel(network).run(codes), whole)


def test_errors():
    network = trace(nn.Sequential(nn.Conv2d(3, 2, 1)), (3, 2, 2))
    with pytest.raises(ExportError, match="layer 0 has no requantization; quantize the network"):
        GoldenModel(network)
    golden = GoldenModel(quantize(calibrate(network, np.ones((1, 3, 2, 2))), PRESETS["tiny"]))
    with pytest.raises(ExportError, match="activation codes must be integers, not float64"):
        golden.run(np.zeros((1, 3, 2, 2)))
    with pytest.raises(ExportError, match=r"expected is \(images, 3, 2, 2\)"):
        golden.run(np.zeros((1, 2, 2, 2), int))
    with pytest.raises(ExportError, match="layer 0 reads tensor input, which is not given"):
        golden.run_layer("0", {})
    with pytest.raises(KeyError, match="has no layer 'nine'; it has 0"):
        golden.run_layer("nine", {})


# ----- a network trained by others


class MnistNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.layer2 = nn.Sequential(
            nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.fc = nn.Linear(7 * 7 * 32, 10)

    def forward(self, x):
        x = self.layer2(self.layer1(x))
        return self.fc(x.view(x.size(0), -1))


@pytest.mark.skipif(
    not (DATA / "mnist_ttq_cnn.ckpt").exists(), reason=f"{DATA} does not hold mnist_ttq_cnn.ckpt"
)
def test_mnist_accuracy():
    model = MnistNet()
    model.load_state_dict(torch.load(DATA / "mnist_ttq_cnn.ckpt", weights_only=True), strict=False)
    with gzip.open(DATA / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(DATA / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    x = (images / 255).astype(np.float32)
    calibrated = calibrate(trace(model, (1, 28, 28), digits=0), x[:200])
    network = quantize(calibrated, PRESETS["ulx3s_85f"])
    assert [layer.note.partition(";")[0] for layer in network.layers] == ["ternary"] * 3
    codes = quantize_input(x, network.tensors["input"])
    assert np.array_equal(codes, images)
    results = GoldenModel(network).run(codes)[:, :, 0, 0]
    assert np.mean(results.argmax(axis=1) == labels) >= 0.983
    # the same widths give the same integers, whatever the size of the array
    widths = {
        name: getattr(PRESETS["ulx3s_85f"], name)
        for name in ("coefficient_width", "accumulator_width", "multiplier_width")
    }
    small = quantize(calibrated, dataclasses.replace(PRESETS["tiny"], **widths))
    assert np.array_equal(GoldenModel(small).run(codes[:20])[:, :, 0, 0], results[:20])
