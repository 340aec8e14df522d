"""Widths and counts that are the same in every configuration."""

__all__ = [
    "ACTIVATION_WIDTH",
    "CODE_WIDTH",
    "COUNTER_SLOTS",
    "PORT_WIDTH",
    "RESULT_WIDTH",
    "SHIFT_WIDTH",
    "TABLE_ENTRIES",
    "WEIGHT_WIDTH",
]

#: Bits of one activation.
ACTIVATION_WIDTH = 8
#: Bits of a weight of a wide column group.
WEIGHT_WIDTH = 8
#: Bits of an activation's code, signed (-128 to 127) or not (0 to 255).
CODE_WIDTH = ACTIVATION_WIDTH + 1
#: Entries of an activation table: one for every code.
TABLE_ENTRIES = 1 << ACTIVATION_WIDTH
#: Bits of one word of the host port.
PORT_WIDTH = 32
#: Bits of a result (one accumulator of a network's last layer, bias included).
RESULT_WIDTH = 32
#: Bits of the requantizer's shift.
SHIFT_WIDTH = 6
#: Counter words kept per layer of a run.
COUNTER_SLOTS = 16
