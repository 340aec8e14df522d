"""tritforge verify: equal, or the first difference."""

import json

import pytest

from tests.tritforge.support import call
from tritforge.sim.backend import InterpreterBackend

pytestmark = pytest.mark.compiles


def test_verify_says_equal(capsys, exported):
    code, out, err = call(
        capsys, "verify", exported / "image", "--input", exported / "x.npy", "--json"
    )
    assert code == 0 and err == ""
    document = json.loads(out)
    assert document["equal"]
    assert [one["backend"] for one in document["comparisons"]] == ["memory", "rtl", "pysim"]
    assert all(one["equal"] for one in document["comparisons"])
    assert [one["images"] for one in document["comparisons"]] == [3, 3, 1]


def test_verify_names_the_first_difference(capsys, exported, monkeypatch):

    original = InterpreterBackend.capture

    def wrong(self, codes, progress=None):
        outputs = original(self, codes, progress)
        second = list(outputs)[1]
        outputs[second][0, 4, 0, 0] += 3
        return outputs

    monkeypatch.setattr(InterpreterBackend, "capture", wrong)
    code, out, err = call(
        capsys, "verify", exported / "image", "--input", exported / "x.npy", "--backend", "memory"
    )
    assert code == 1
    assert err.count("\n") == 1
    assert "row 4, pixel (y 0, x 0) of image 0" in err
    assert "row 4" in out
