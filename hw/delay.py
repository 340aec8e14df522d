"""Values of some cycles before."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

from amaranth.hdl import Module, Signal, Value

__all__ = ["delayed"]

_Value = TypeVar("_Value")


def delayed(
    m: Module, name: str, value: _Value, cycles: int, enables: Sequence[Value] = (), **options: Any
) -> _Value:
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
    enables : sequence of Value
        When each register takes a new value; all in every cycle where there are none.
    options
        Of the registers, as for ``Signal.like``; else they are like ``value``.
    """
    assert cycles >= 0
    for stage in range(cycles):
        after = Signal.like(value, name=f"{name}_{stage}", **options)
        with m.If(enables[stage]) if enables else nullcontext():
            m.d.sync += after.eq(value)
        value = after
    return value
