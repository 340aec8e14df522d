"""Networks by name, and the training script of the digits network."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from tritforge.model_export import zoo
from tritforge.model_export.formats.checkpoint import load_into
from tritforge.model_export.model_file import load_model
from tritforge.model_export.training import train_digits
from tritforge.model_export.training.digits import digits_data


@pytest.mark.parametrize(
    ("name", "shape", "classes", "weights"),
    [
        ("digits", (2, 1, 8, 8), 10, 25_744),
        ("mnist", (2, 1, 28, 28), 10, 28_880),
        ("resnet20", (2, 3, 32, 32), 10, 268_336),
        ("resnet20_projected", (2, 3, 32, 32), 10, 270_896),
        ("resnet56", (2, 3, 32, 32), 10, 848_944),
        ("vgg7", (2, 3, 32, 32), 10, 1_670_080),
        ("squeezenet", (2, 3, 56, 56), 200, 821_952),
        ("densenet", (2, 3, 56, 56), 200, 427_920),
        ("resnet18", (1, 3, 224, 224), 1000, 11_678_912),
        ("mobilenet", (1, 3, 224, 224), 1000, 4_209_088),
    ],
)
def test_networks(name, shape, classes, weights):
    model = load_model(f"zoo:{name}").eval()
    assert model(torch.zeros(shape)).shape == (shape[0], classes)
    assert (
        sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        == weights
    )


def test_alexnet_has_the_authors_shapes():
    with torch.device("meta"):
        model = load_model("zoo:alexnet_dorefa").eval()
        x = torch.zeros(1, 3, 224, 224)
    shapes = {}
    for name, module in model.named_children():
        x = module(x)
        shapes[name] = tuple(x.shape[1:])
    assert [
        shapes[name]
        for name in ("conv0", "conv1", "pool1", "pool2", "conv3", "pool4", "flatten", "fc0", "fct")
    ] == [
        (96, 54, 54),
        (256, 54, 54),
        (256, 27, 27),
        (384, 14, 14),
        (384, 14, 14),
        (256, 6, 6),
        (9216,),
        (4096,),
        (1000,),
    ]
    assert {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if name.endswith("weight") and "bn" not in name
    } == {
        "conv0.weight": 41_472,
        "conv1.weight": 307_200,
        "conv2.weight": 884_736,
        "conv3.weight": 663_552,
        "conv4.weight": 442_368,
        "fc0.weight": 37_748_736,
        "fc1.weight": 16_777_216,
        "fct.weight": 4_096_000,
    }


def test_digits_data_is_a_fixed_stratified_split():
    train_x, train_y, test_x, test_y = digits_data()
    assert train_x.shape == (1437, 1, 8, 8) and test_x.shape == (360, 1, 8, 8)
    assert train_x.dtype == np.float32 and train_y.dtype == np.int64
    assert train_x.min() == 0 and train_x.max() == 1
    assert np.all(np.bincount(test_y) >= 34)
    again = digits_data()
    assert np.array_equal(again[2], test_x) and np.array_equal(again[3], test_y)
    train_set = {image.tobytes() for image in train_x}
    assert sum(image.tobytes() in train_set for image in test_x) == 0


def test_training_script_is_reproducible(tmp_path):
    runner = CliRunner()
    for name in ("a.pt", "b.pt"):
        result = runner.invoke(train_digits.main, ["-o", str(tmp_path / name), "--epochs", "1"])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.pt", "b.json", "b.pt"]
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["ttq_accuracy"] > 0.5 and report["layers"].keys() == {"conv2", "conv3"}


def test_training_script_writes_into_the_folder_that_one_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(train_digits.main, ["--epochs", "1"])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits_ttq.json", "digits_ttq.pt"]


def test_shipped_digits_network_is_as_good_as_its_report():
    checkpoint = Path(str(files("tritforge") / "data" / "digits_ttq.pt"))
    report = json.loads(checkpoint.with_suffix(".json").read_text())
    _, _, test_x, test_y = (torch.from_numpy(array) for array in digits_data())
    accuracy = train_digits.accuracy(load_into(zoo.digits(), checkpoint), test_x, test_y)
    assert accuracy == report["ttq_accuracy"] >= 0.97
    assert report["float_accuracy"] - accuracy < 0.01
