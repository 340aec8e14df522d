"""One small configuration, mapped once, for all tests of this folder."""

import pytest

from tests.tritforge.cost.mini import MINI
from tritforge.cost.area import measure_area
from tritforge.cost.technology_file import load_technology


@pytest.fixture(scope="session")
def technology():
    return load_technology("45nm")


@pytest.fixture(scope="session")
def area(technology):
    return measure_area(MINI, technology)
