"""Sentences and tables of runs."""

import pytest

from tests.sim.test_backend import make
from tritforge.sim.backend import create, port_word_count
from tritforge.sim.report import build_report
from tritforge.tables.simulate import layer_tables, summary

pytestmark = pytest.mark.compiles


def report_of(image, codes, backend):
    with create(backend, image) as runner:
        return build_report(runner.run(codes), "here", "")


def test_a_run_in_sentences_and_tables():
    report = report_of(*make(4), "rtl")
    text = summary(report, clock=25)
    assert "25 MHz" in text and f"{report.total_cycles:,} cycles in all" in text
    rows = len(report.layers) + (len(report.layers) > 1)
    assert [table.row_count for table in layer_tables(report)] == [rows, rows, rows]
    assert f"{report.loading.port_words:,} port words" in text
    assert "not modelled" not in text


def test_what_is_said_of_loading(monkeypatch):
    image, codes = make(5)
    assert "not modelled" in summary(report_of(image, codes, "cycle"))
    words = port_word_count(image.memory)
    monkeypatch.setattr("tritforge.sim.backend.BACK_DOOR_WORDS", words - 1)
    text = summary(report_of(image, codes, "rtl"))
    assert f"{words:,} port words were put into the memories by the back door" in text
