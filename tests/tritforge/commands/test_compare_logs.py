"""tritforge compare-logs, and the logs that tritforge simulate writes for it."""

import json
import re

import numpy as np
import pytest

from tests.tritforge.support import call, refused
from tritforge.hw.presets import PRESETS

pytestmark = pytest.mark.compiles


@pytest.fixture
def one_image(exported, tmp_path):
    """A file with one input image."""
    np.save(tmp_path / "one.npy", np.load(exported / "x.npy")[0])
    return tmp_path / "one.npy"


def logged(capsys, exported, one_image, name, *more):
    """Simulate with backend ``name``; its log."""
    folder = one_image.parent
    return call(
        capsys,
        "simulate",
        exported / "image",
        "--input",
        one_image,
        "-o",
        folder / "run",
        "--backend",
        name,
        "--log",
        folder / f"{name}.log",
        *more,
    )


def test_logs_of_all_simulators_are_equal(capsys, exported, one_image, tmp_path):
    for name in ("cycle", "rtl", "pysim"):
        code, out, err = logged(capsys, exported, one_image, name)
        assert code == 0 and err == ""
        assert f"{name}.log: event log" in " ".join(out.split())
    for name in ("rtl", "pysim"):
        code, out, err = call(
            capsys, "compare-logs", tmp_path / "cycle.log", tmp_path / f"{name}.log"
        )
        assert code == 0 and err == ""
        assert re.search(
            rf"cycle.log \(cycle\) and .*{name}.log \({name}\) are equal: "
            r"[\d,]+ records of 3 layers\n",
            out,
        )
    code, out, err = call(
        capsys, "compare-logs", tmp_path / "cycle.log", tmp_path / "rtl.log", "--json"
    )
    document = json.loads(out)
    assert code == 0 and document["equal"] and document["difference"] is None
    assert document["first"]["configuration_identity"] == PRESETS["tiny"].identity
    manifest = json.loads((exported / "image" / "manifest.json").read_text())
    assert document["second"]["image_manifest_sha256"] == manifest["manifest_sha256"]
    lines = (tmp_path / "rtl.log").read_text().splitlines()
    assert document["records"] == len(lines) - 1
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "one.npy",
        "run",
        "cycle.log",
        "rtl.log",
        "pysim.log",
    }


def test_the_first_difference_between_logs_is_named(capsys, exported, one_image, tmp_path):
    for name in ("cycle", "rtl"):
        assert logged(capsys, exported, one_image, name, "--layer", "4")[0] == 0
    lines = (tmp_path / "rtl.log").read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if "pixel_drained" in line)
    record = json.loads(lines[number])
    lines[number] = json.dumps(record | {"time": record["time"] + 1})
    (tmp_path / "rtl.log").write_text("\n".join(lines))
    code, out, err = call(capsys, "compare-logs", tmp_path / "cycle.log", tmp_path / "rtl.log")
    assert code == 1 and out == ""
    assert err == (
        f"tritforge: layer 4, cycle {record['time']:,}, record {number}: {tmp_path}/cycle.log has "
        f"pixel_drained (set 0, tile 0, pixel 0) in cycle {record['time']:,}, {tmp_path}/rtl.log "
        f"has pixel_drained (set 0, tile 0, pixel 0) in cycle {record['time'] + 1:,}\n"
    )
    code, out, err = call(
        capsys, "compare-logs", tmp_path / "cycle.log", tmp_path / "rtl.log", "--json"
    )
    document = json.loads(out)
    assert code == 1 and not document["equal"] and document["difference"] in err


def test_logs_that_cannot_be_compared_are_refused(capsys, exported, one_image, tmp_path):
    assert logged(capsys, exported, one_image, "cycle")[0] == 0
    (tmp_path / "cycle.log").rename(tmp_path / "whole.log")
    assert logged(capsys, exported, one_image, "cycle", "--layer", "4")[0] == 0
    whole, alone = tmp_path / "whole.log", tmp_path / "cycle.log"
    assert "of layer all" in refused(capsys, "compare-logs", whole, alone)
    np.save(one_image, np.load(exported / "x.npy")[1])
    assert logged(capsys, exported, one_image, "cycle")[0] == 0
    assert "of input" in refused(capsys, "compare-logs", whole, alone)
    assert "No such file" in refused(capsys, "compare-logs", whole, tmp_path / "absent")
    said = refused(capsys, "compare-logs", whole, tmp_path / "run" / "report.json")
    assert "is not a tritforge event log" in said
    whole.write_bytes(whole.read_bytes()[:-100])
    assert "damaged" in refused(capsys, "compare-logs", whole, alone)


def test_logs_that_cannot_be_written_are_refused_before_anything_runs(
    capsys, exported, one_image, tmp_path, monkeypatch
):
    from tritforge.flows import simulate as simulate_module

    monkeypatch.setattr(simulate_module, "create", None)
    kept = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def said(*arguments, inputs=one_image):
        return refused(
            capsys,
            "simulate",
            exported / "image",
            "--input",
            inputs,
            "-o",
            tmp_path / "run",
            *arguments,
        )

    log = tmp_path / "a.log"
    assert "golden knows no clock cycles" in said("--backend", "golden", "--log", log)
    assert "of one input image, and 3 are given" in said("--log", log, inputs=exported / "x.npy")
    assert "is left as it is" in said("--log", one_image)
    assert "would lie in the run folder" in said("--log", tmp_path / "run" / "a.log")
    assert "which is a tritforge image" in said("--log", exported / "image" / "a.log")
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == kept
