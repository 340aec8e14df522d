"""What a run was given, against its range."""

from tritforge.sim.result import InputFacts


def test_farthest_value_and_factor():
    facts = InputFacts("", False, -1.5, 3.0, (-1.0, 0.5), 0.25)
    assert facts.farthest == 3.0 and facts.factor == 3.0
    facts = InputFacts("", False, -4.0, 3.0, (-1.0, 0.5), 0.25)
    assert facts.farthest == -4.0 and facts.factor == 4.0
    assert InputFacts("", False, 0.0, 0.25, (-1.0, 0.5), 0.0).factor == 0.25
