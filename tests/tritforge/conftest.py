"""Exports the small network once for all tests of this folder."""

import pytest

from tests.tritforge import support


@pytest.fixture
def files(tmp_path):
    """A fresh folder with checkpoint, model file, calibration and input."""
    return support.prepare(tmp_path)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A folder as ``files``, with the network exported to ``image``; not to be changed."""
    folder = support.prepare(tmp_path_factory.mktemp("exported"))
    assert support.run([*support.export_arguments(folder, folder / "image")]) == 0
    return folder


@pytest.fixture(scope="session")
def quick_alexnet(tmp_path_factory):
    """A configuration file for AlexNets narrowed by 16: 64 adders, large memories."""
    path = tmp_path_factory.mktemp("configs") / "quick.toml"
    path.write_text(
        'name = "quick"\nsets = 2\nclusters = 4\nelements = 8\nrows = 8\nqueue_depth = 8\n'
        "scan_width = 8\naccumulator_width = 28\nbanks = 4\ndrain_width = 4\n"
        "trit_depth = 16384\nactivation_depth = 16384\nprogram_depth = 8192\nrow_depth = 4096\n"
        "result_depth = 4096\npacket_words = 254\n"
    )
    return path
