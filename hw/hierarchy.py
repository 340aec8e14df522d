"""Keeping repeated blocks one Verilog module.

Amaranth writes one module per instance: 128 equal elements become 128 modules. A repeated block
is therefore added through :func:`repeated`. In Amaranth's own simulator that is an ordinary
submodule; under :class:`SharedModules` it becomes an instance of a module that is converted once.
"""

from collections.abc import Callable
from typing import TypeVar, cast

from amaranth.hdl import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib import wiring

__all__ = ["SharedModules", "repeated"]

_Block = TypeVar("_Block", bound=wiring.Component)


class SharedModules:
    """Platform under which repeated blocks are collected instead of copied.

    Members
    -------
    modules : dict[str, wiring.Component]
        Module name to the one component that stands for all its instances.
    bodies : set[str]
        Modules written by hand in Verilog that the collected modules use, see
        :mod:`tritforge.hw.bodies`.
    """

    def __init__(self) -> None:
        self.modules: dict[str, wiring.Component] = {}
        self.bodies: set[str] = set()


class _Shared(wiring.Component):
    """Instance of a shared module, with the ports of the component it stands for."""

    def __init__(self, name: str, signature: wiring.Signature) -> None:
        self._name = name
        super().__init__(signature)

    def elaborate(self, platform: object) -> Instance:
        ports: dict[str, Value] = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for path, member, value in self.signature.flatten(self):
            direction = "i" if member.flow == wiring.In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = Value.cast(value)
        return Instance(self._name, **ports)


def repeated(platform: object, name: str, create: Callable[[], _Block]) -> _Block:
    """A block that appears many times; all calls with one ``name`` must create equal blocks.

    What is returned has the ports of what ``create`` makes, and need not be one itself.
    """
    if not isinstance(platform, SharedModules):
        return create()
    if name not in platform.modules:
        platform.modules[name] = create()
    return cast(_Block, _Shared(name, platform.modules[name].signature))
