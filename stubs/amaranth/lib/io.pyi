from typing import Any

from amaranth.lib import wiring

class Buffer(wiring.Component):
    def __init__(self, direction: str, port: Any) -> None: ...

class FFBuffer(wiring.Component):
    def __init__(
        self, direction: str, port: Any, *, i_domain: str | None = None, o_domain: str | None = None
    ) -> None: ...

class SingleEndedPort:
    def __init__(self, io: Any, *, invert: bool = False, direction: str = "io") -> None: ...
