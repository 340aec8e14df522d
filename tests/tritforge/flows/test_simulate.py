"""Event logs of simulations."""

import pytest

import tritforge
from tests.tritforge.support import samples, small_model

pytestmark = pytest.mark.compiles


def test_logs_from_objects(tmp_path):
    image = tritforge.export(
        None, small_model(), samples(), "tiny", tmp_path / "image", check=False
    ).image
    x = samples()[:2]
    for number in range(2):
        tritforge.simulate(image, x[number], "cycle", log=tmp_path / f"{number}.log")
    assert tritforge.compare_logs(tmp_path / "0.log", tmp_path / "0.log").equal
    with pytest.raises(tritforge.EventLogError, match="such logs cannot be compared"):
        tritforge.compare_logs(tmp_path / "0.log", tmp_path / "1.log")
    with pytest.raises(tritforge.SimulationError, match="of one input image, and 2 are given"):
        tritforge.simulate(image, x, "cycle", log=tmp_path / "2.log")
    with pytest.raises(tritforge.SimulationError, match="no backend 'gpu'"):
        tritforge.simulate(image, x[0], "gpu", log=tmp_path / "2.log")
    assert not (tmp_path / "2.log").exists()
