"""Networks of what the front end reads, in every simulator of the hardware."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tritforge
from tritforge.hw.presets import PRESETS
from tritforge.model_export.training.ttq import ternarize_model

TABLES = dataclasses.replace(PRESETS["tiny"], name="tables", activation_tables=4)


class Everything(nn.Module):
    """Slices with steps, SAME padding, option A, a channel shuffle, signed clamps, tables, ragged
    averages, nearest up-sampling, a write through a view."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3)
        self.down = nn.Conv2d(6, 8, 3, stride=2)
        self.mix = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Linear(8 * 4, 5)

    def forward(self, x):
        x = F.silu(self.stem(F.pad(x, (2, 0, 1, 1))))
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        y = F.hardtanh(self.down(F.pad(x, (0, 1, 0, 1))), -0.6, 0.9)
        y = F.channel_shuffle(y, 2)
        y[:, :3].mul_(0.5)
        y = self.norm(self.mix(y)) + short
        y = y * torch.sigmoid(y)
        y = F.avg_pool2d(F.interpolate(y, scale_factor=2), 3, 2, 1, count_include_pad=False)
        return self.last(F.adaptive_avg_pool2d(y, 2).flip(3).permute(0, 2, 3, 1).flatten(1))


def everything():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return ternarize_model(Everything(), sparsity=0.5).eval()


def samples(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 2, 8, 8)).astype(np.float32)


@pytest.mark.compiles
def test_all_simulators_agree(tmp_path):
    made = tritforge.export(None, everything(), samples(64), TABLES, tmp_path / "image")
    assert made.errors[-1].rms < 0.05
    verified = tritforge.verify(made.image, samples(2, 1), pysim_images=1)
    assert verified.equal
    assert {one.backend for one in verified.comparisons} == {"memory", "rtl", "pysim"}
    runs = [tritforge.simulate(made.image, samples(2, 1), one) for one in ("cycle", "rtl")]
    assert [one.counters for one in runs[0].layers] == [one.counters for one in runs[1].layers]
    np.testing.assert_array_equal(runs[0].output, runs[1].output)


@pytest.mark.parametrize("streamed", [False, True])
def test_memory_contents_and_accuracy(tmp_path, streamed):
    config = TABLES
    if streamed:
        config = dataclasses.replace(config, name="small", activation_depth=160, trit_depth=64)
    model = everything()
    made = tritforge.export(None, model, samples(64), config, tmp_path / "image")
    assert (made.image.manifest.streaming is not None) == streamed
    x = samples(6, 2)
    assert tritforge.verify(made.image, x, backends=["memory"]).equal
    with torch.no_grad():
        right = model(torch.from_numpy(x)).numpy()
    found = tritforge.simulate(made.image, x, "golden").output[:, :, 0, 0]
    error = found * made.image.network.final.result_scale - right
    assert np.sqrt((error**2).mean()) < 0.06 * np.sqrt((right**2).mean())


def test_verify_takes_labels(tmp_path):
    made = tritforge.export(None, everything(), samples(64), TABLES, tmp_path / "image")
    x = samples(6, 2)
    golden = tritforge.simulate(made.image, x, "golden").output[:, :, 0, 0].argmax(axis=1)
    labels = np.where(np.arange(6) < 4, golden, (golden + 1) % 5)
    found = tritforge.verify(made.image, x, labels=labels, backends=["memory"])
    assert found.equal and found.accuracy == pytest.approx(4 / 6)
    assert tritforge.verify(made.image, x, backends=["memory"]).accuracy is None
