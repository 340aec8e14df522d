"""Tables of what a technology file holds: units, figures, cells, memory macros."""

import math

from tritforge.hw.bodies import BODIES

__all__ = [
    "CELL_FIELDS",
    "CELL_KINDS",
    "FIGURES",
    "MACRO_FIELDS",
    "MACRO_SIZES",
    "RANGES",
    "TAKEN",
    "UNITS",
]

#: Units of a file, by dimension, and what one of them is in the unit that everything is computed
#: in (the first of each).
UNITS: dict[str, dict[str, float]] = {
    "energy": {"pJ": 1.0, "fJ": 1e-3, "nJ": 1e3},
    "energy per length": {"pJ/mm": 1.0, "fJ/mm": 1e-3, "fJ/um": 1.0},
    "power": {"mW": 1.0, "uW": 1e-3, "nW": 1e-6},
    "power per area": {
        "mW/um2": 1.0,
        "uW/um2": 1e-3,
        "nW/um2": 1e-6,
        "uW/mm2": 1e-9,
        "mW/mm2": 1e-6,
    },
    "area": {"um2": 1.0, "mm2": 1e6},
    "length": {"nm": 1.0, "um": 1e3},
    "frequency": {"MHz": 1.0, "GHz": 1e3, "kHz": 1e-3},
    "voltage": {"V": 1.0, "mV": 1e-3},
    "capacitance": {"fF": 1.0, "pF": 1e3},
    "share": {"1": 1.0, "%": 0.01},
}

#: Figures that every technology has: dimension, and what it is.
FIGURES: dict[str, tuple[str, str]] = {
    "node": ("length", "feature size by which the technology is known"),
    "voltage": ("voltage", "supply"),
    "clock": (
        "frequency",
        "clock where the user says no other; it decides how long there is leakage, nothing else",
    ),
    "add_bit": ("energy", "one bit of an addition"),
    "multiply_bit2": ("energy", "a multiplication, divided by the product of both factors' bits"),
    "select_bit": ("energy", "one bit of a choice between two values whose output changes"),
    "register_bit": (
        "energy",
        "one bit of a flip-flop that is clocked because it is written, its clock included",
    ),
    "clock_bit": (
        "energy",
        "one flip-flop in a cycle in which it is clocked and keeps its value, "
        "with its share of the clock network",
    ),
    "register_file_read": ("energy", "one bit read from a small memory of registers or latches"),
    "register_file_write": ("energy", "one bit written to such a memory"),
    "register_file_area": ("area", "one bit of such a memory, addressing included"),
    "register_file_leakage": ("power", "one bit of such a memory"),
    "wire": ("energy per length", "a wire with its repeaters, per change of its value"),
    "toggle": ("share", "share of the bits of a word that differ from the word before"),
    "logic_leakage": ("power per area", "cells, by their area"),
    "placement": ("share", "area of a block's cells over the area that it is placed in"),
    "two_port_area": (
        "share",
        "area of a memory with a read and a write port over one with a single port",
    ),
    "two_port_energy": ("share", "energy of an access to it over one with a single port"),
    "off_chip": ("energy", "one bit to or from memory outside the chip"),
}

#: Least and greatest value of figures that could not be otherwise.
RANGES = {
    "placement": (0.0, 1.0),
    "toggle": (0.0, 1.0),
    "two_port_area": (1.0, math.inf),
    "two_port_energy": (1.0, math.inf),
}

#: Names of cells that the design's own modules have.
TAKEN = ("accelerator", "cluster", "processing_element", *BODIES)

#: Kinds of logic cells: input pins, and the output's function in Liberty's words. Of a flip-flop
#: the pins are clock and data.
CELL_KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "INV": (("A",), "A'"),
    "BUF": (("A",), "A"),
    "NAND2": (("A", "B"), "(A*B)'"),
    "NAND3": (("A", "B", "C"), "(A*B*C)'"),
    "NOR2": (("A", "B"), "(A+B)'"),
    "AND2": (("A", "B"), "A*B"),
    "OR2": (("A", "B"), "A+B"),
    "XOR2": (("A", "B"), "(A*B')+(A'*B)"),
    "XNOR2": (("A", "B"), "(A*B)+(A'*B')"),
    "AOI21": (("A", "B", "C"), "((A*B)+C)'"),
    "OAI21": (("A", "B", "C"), "((A+B)*C)'"),
    "MUX2": (("A", "B", "S"), "(A*S')+(B*S)"),
    "DFF": (("CK", "D"), "IQ"),
}

#: Numbers of a cell, and of a memory macro: dimensions.
CELL_FIELDS = {
    "area": "area",
    "leakage": "power",
    "energy": "energy",
    "capacitance": "capacitance",
}

#: Sizes of a memory macro.
MACRO_SIZES = ("words", "width")
MACRO_FIELDS = {"read": "energy", "write": "energy", "leakage": "power", "area": "area"}
