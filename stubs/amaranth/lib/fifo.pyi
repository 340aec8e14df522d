from typing import Any

from amaranth.hdl import Elaboratable, Signal, Value

class FIFOInterface(Elaboratable):
    width: int
    depth: int
    w_data: Signal
    w_rdy: Signal
    w_en: Signal
    w_level: Value
    r_data: Value
    r_rdy: Value
    r_en: Signal
    r_level: Value
    w_stream: Any
    r_stream: Any

class SyncFIFO(FIFOInterface):
    level: Value
    def __init__(self, *, width: int, depth: int) -> None: ...

class SyncFIFOBuffered(FIFOInterface):
    level: Value
    def __init__(self, *, width: int, depth: int) -> None: ...

class AsyncFIFO(FIFOInterface):
    def __init__(
        self,
        *,
        width: int,
        depth: int,
        r_domain: str = "read",
        w_domain: str = "write",
        exact_depth: bool = False,
    ) -> None: ...
