"""Run folders: what is written is read again, and all else is refused by a sentence."""

import json

import numpy as np
import pytest

from tests.common.documents import other_types
from tests.sim.test_backend import make
from tritforge.common.json_types import JsonError, dump
from tritforge.sim.backend import create
from tritforge.sim.report import (
    ReportError,
    build_report,
    check_run_folder,
    read_run,
    write_run,
)
from tritforge.sim.result import InputFacts, RunReport


def report_of(image, codes, backend, layer=None):
    with create(backend, image) as runner:
        return build_report(runner.run(codes, layer), "here", "0" * 64)


@pytest.mark.compiles
def test_report_and_run_folder(tmp_path):
    image, codes = make(4)
    with create("rtl", image) as rtl:
        simulation = rtl.run(codes)
    report = build_report(simulation, "here", "0" * 64)
    assert dump(report).endswith("}\n")
    write_run(tmp_path / "run", report, simulation)
    output = np.load(tmp_path / "run" / "output.npy", allow_pickle=False)
    assert output.dtype == np.int32
    assert output.shape == report.output.shape
    np.testing.assert_array_equal(output.reshape(simulation.output.shape), simulation.output)
    assert {entry.name for entry in tmp_path.iterdir()} == {"run"}
    assert set(report.layers[0].to_json()) & set(report.units) >= {
        "cycles",
        "lower_bound",
        "dense_cycles",
        "speed_up",
        "utilization",
    }
    for layer in report.layers:
        assert 0 < layer.lower_bound <= layer.cycles
        assert layer.dense_cycles == layer.mac_count * 2 / image.config.adders
        if layer.mac_count:
            assert layer.speed_up == pytest.approx(layer.dense_cycles / layer.cycles)
        else:
            assert layer.speed_up is None


def test_run_folders_replace_runs_only(tmp_path):
    image, codes = make(4)
    with create("golden", image) as golden:
        simulation = golden.run(codes)
    report = build_report(simulation, "here", "")
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        write_run(tmp_path / "empty", report, simulation)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "report.json").write_text('{"format": "mine"}')
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("file", "folder", "link"):
        with pytest.raises(ReportError, match="is left as it is"):
            check_run_folder(tmp_path / name)
        with pytest.raises(ReportError, match="is left as it is"):
            write_run(tmp_path / name, report, simulation)
    with pytest.raises(ReportError, match="cannot be written"):
        write_run(tmp_path / "file" / "run", report, simulation)


BACKENDS = pytest.mark.parametrize(
    "backend", ["golden", pytest.param("cycle", marks=pytest.mark.compiles)]
)


@BACKENDS
@pytest.mark.parametrize("alone", [False, True])
def test_reports_come_back_as_they_were(tmp_path, backend, alone):
    image, codes = make(4)
    layer = image.network.final.name if alone else None
    with create(backend, image) as runner:
        simulation = runner.run(codes, layer)
    if alone:
        simulation.input = InputFacts("1" * 64, False, -1.5, 3.0, (-1.0, 0.5), 0.25)
    report = build_report(simulation, "here", "0" * 64)
    write_run(tmp_path / "run", report, simulation)
    assert read_run(tmp_path / "run") == report
    text = (tmp_path / "run" / "report.json").read_text(encoding="utf-8")
    assert dump(RunReport.from_json(json.loads(text))) == text


def test_reports_of_earlier_versions_are_read():
    report = report_of(*make(4), "golden").to_json()
    del report["input"], report["accuracy"]
    found = RunReport.from_json(report)
    assert found.input is None and found.accuracy is None


@BACKENDS
def test_every_field_of_another_type_is_named(backend):
    optional = {"layer", "total_cycles", "loading_cycles", "utilization", "cycles"}
    optional |= {"lower_bound", "dense_cycles", "speed_up", "port_words", "sent_words"}
    count = 0
    for path, other in other_types(report_of(*make(4), backend).to_json(), optional):
        if path != "layers[0].sent_words":
            with pytest.raises(JsonError) as caught:
                RunReport.from_json(other, "report.json")
            assert str(caught.value).startswith("report.json" + (f": {path}" if path else ""))
            count += 1
    assert count > 250


def test_a_missing_field_is_named():
    later = {"input", "accuracy", "lower_bound", "verdict", "needed"}  # not in earlier versions
    report = report_of(*make(4), "golden").to_json()
    for place, where in (
        (report, ""),
        (report["output"], ": output"),
        (report["layers"][0], ": layers[0]"),
    ):
        for key, value in list(place.items()):
            if key in later and not (key == "lower_bound" and "rows" in place):
                continue
            del place[key]
            with pytest.raises(JsonError) as caught:
                RunReport.from_json(report, "report.json")
            assert str(caught.value) == f"report.json{where} lacks {key!r}"
            place[key] = value


@pytest.mark.parametrize(
    "text, complaint",
    [
        (None, "run .* cannot be read: report.json: No such file"),
        ("{", "is not JSON"),
        ('{"format": NaN}', "is not JSON: NaN"),
        ("[]", "is not a tritforge report"),
        ('{"format": "tritforge image"}', "is not a tritforge report"),
        ('{"format": "tritforge report"}', "report.json lacks 'format_version'"),
        (
            '{"format": "tritforge report", "format_version": 2}',
            "of version 2; this program reads version 1, so simulate again$",
        ),
    ],
)
def test_run_that_is_none(tmp_path, text, complaint):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(ReportError, match=complaint):
        read_run(tmp_path)
