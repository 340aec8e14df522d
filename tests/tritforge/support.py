"""What the tests of the command line share: a small trained network and its image."""

import io
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tritforge.cli import run
from tritforge.model_export.training.ttq import bake, ternarize_model

#: The command line as another process.
PYTHON = [sys.executable, "-m", "tritforge"]

MODEL = """
from torch import nn

def small():
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 3))

def all_ternary():
    return small()

def with_lstm():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(4, 3)

        def forward(self, x):
            return self.rnn(x.flatten(1, 2).permute(1, 0, 2))[0][-1]

    return Last()

def normalized():
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(2, 6))

class Wide(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(2, 200, 3), nn.ReLU(), nn.Conv2d(200, 40, 1))
"""


def small_model(seed=0, threshold=0.3):
    """A ternary network with random weights; input (N, 2, 4, 4), output (N, 3)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        plain = nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1),
            nn.BatchNorm2d(5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(5, 6, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6, 3),
        )
    return ternarize_model(plain, threshold=threshold).eval()


def ternary_model():
    """The same with all layers ternary."""
    return ternarize_model(bake(small_model()), threshold=0.3, first_last=True).eval()


def samples(count=12, seed=1):
    return np.random.default_rng(seed).normal(size=(count, 2, 4, 4)).astype(np.float32)


def prepare(folder: Path) -> Path:
    """Checkpoint, model file, calibration and input arrays in ``folder``."""
    torch.save(small_model().state_dict(), folder / "small.pt")
    (folder / "models.py").write_text(MODEL)
    np.save(folder / "calibration.npy", samples())
    np.save(folder / "x.npy", samples(3, seed=2))
    return folder


def export_arguments(folder, output, **changes):
    values = {
        "checkpoint": folder / "small.pt",
        "--model": f"{folder / 'models.py'}:small",
        "--calibrate": folder / "calibration.npy",
        "--config": "tiny",
        "-o": output,
        **changes,
    }
    checkpoint = values.pop("checkpoint")
    return ["export", str(checkpoint), *(str(part) for pair in values.items() for part in pair)]


def leftovers(folder, *allowed):
    """What lies in the folder of the fixture ``files`` that it did not put there."""
    return {entry.name for entry in folder.iterdir()} - {
        "small.pt",
        "models.py",
        "calibration.npy",
        "x.npy",
        "__pycache__",
        *allowed,
    }


def call(capsys, *arguments):
    """Exit code, standard output, standard error of one command."""
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments, code=1):
    """The one sentence with which a command must refuse its arguments."""
    found, out, err = call(capsys, *arguments)
    assert found == code, (found, out, err)
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("tritforge: ")
    assert "Traceback" not in err
    return lines[0]


def pickle_bomb(path: Path, marker: Path) -> Path:
    """A legacy pickle that would create ``marker`` if it were run."""

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(marker),))

    buffer = io.BytesIO()
    pickle.dump({"0.weight": Bomb()}, buffer, protocol=2)
    path.write_bytes(buffer.getvalue())
    return path
