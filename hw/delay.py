"""Values of some cycles before."""

from typing import Any

from amaranth.hdl import Module, Signal

__all__ = ["delayed"]


def delayed(m: Module, name: str, value: Any, cycles: int, **options: Any) -> Signal:
    """``value`` of ``cycles`` before, through as many registers.

    Parameters
    ----------
    m : Module
        Where the registers are.
    name : str
        Theirs is this and the number of the stage.
    value : value-like
    cycles : int
        0 or more.
    options
        Of the registers, as for ``Signal.like``; else they are like ``value``.
    """
    assert cycles >= 0
    for stage in range(cycles):
        after = Signal.like(value, name=f"{name}_{stage}", **options)
        m.d.sync += after.eq(value)
        value = after
    return value
