"""PLLs: divisors as the tools of icestorm and prjtrellis find them, and what is refused."""

import pytest

from tritforge.fpga.errors import BuildError
from tritforge.fpga.platform.pll import Ecp5Pll, Ice40Pll


@pytest.mark.parametrize(
    ("wanted", "divisors"),
    [  # icepll -i 12 -o ..: DIVR, DIVF, DIVQ
        (20, (0, 52, 5)),
        (24, (0, 63, 5)),
        (30, (0, 79, 5)),
        (36, (0, 47, 4)),
        (48, (0, 63, 4)),
        (60, (0, 79, 4)),
        (100, (0, 66, 3)),
    ],
)
def test_ice40(wanted, divisors):
    pll = Ice40Pll.compute(12e6, wanted * 1e6)
    found = (
        pll.reference_divisor - 1,
        pll.feedback_divisor - 1,
        pll.output_divisor.bit_length() - 1,
    )
    assert found == divisors
    assert pll.output_hz == pytest.approx(wanted * 1e6, rel=0.01)
    assert pll.filter_range == 1  # as icepll says, for 12 MHz


@pytest.mark.parametrize(
    ("wanted", "divisors"),
    [  # ecppll -i 25 -o ..
        (45, (5, 9, 13)),
        (50, (1, 2, 12)),
        (60, (5, 12, 10)),
        (75, (1, 3, 8)),
    ],
)
def test_ecp5(wanted, divisors):
    pll = Ecp5Pll.compute(25e6, wanted * 1e6)
    assert (pll.reference_divisor, pll.feedback_divisor, pll.output_divisor) == divisors
    assert pll.output_hz == wanted * 1e6
    assert 400e6 <= pll.oscillator_hz <= 800e6


@pytest.mark.parametrize("kind", [Ice40Pll, Ecp5Pll])
@pytest.mark.parametrize("reference", [12e6, 25e6, 48e6])
def test_all_within_limits(kind, reference):
    low, high = kind.limits.output
    for wanted in range(int(low) + 1, int(high), 7):
        try:
            pll = kind.compute(reference, wanted * 1e6)
        except BuildError:
            continue
        assert pll.legal
        assert abs(pll.output_hz - wanted * 1e6) <= 0.01 * wanted * 1e6
        assert pll.phase_detector_hz * pll.feedback_divisor == pytest.approx(
            pll.output_hz * (pll.output_divisor if kind is Ice40Pll else 1)
        )


@pytest.mark.parametrize(
    ("kind", "wanted", "sentence"),
    [
        (
            Ice40Pll,
            8,
            r"^the PLL of family ice40 cannot make 8 MHz from 12 MHz \(it makes 16 to 275 "
            r"MHz\); the nearest is 16\.\d+ MHz$",
        ),
        (Ecp5Pll, 900, r"^the PLL of family ecp5 cannot make 900 MHz from 12 MHz"),
    ],
)
def test_refused(kind, wanted, sentence):
    with pytest.raises(BuildError, match=sentence):
        kind.compute(12e6, wanted * 1e6)


def test_no_reference():
    with pytest.raises(BuildError, match=r"cannot make 24 MHz from 2 MHz .*MHz\)$"):
        Ice40Pll.compute(2e6, 24e6)
