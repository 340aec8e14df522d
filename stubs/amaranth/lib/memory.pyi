from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amaranth.hdl import Elaboratable, ShapeLike

class MemoryData:
    shape: Any
    depth: int
    init: Any
    def __init__(self, *, shape: ShapeLike, depth: int, init: Iterable[Any]) -> None: ...
    def __getitem__(self, index: int) -> Any: ...

class Memory(Elaboratable):
    data: MemoryData
    shape: Any
    depth: int
    def __init__(
        self,
        data: MemoryData | None = None,
        *,
        shape: ShapeLike | None = None,
        depth: int | None = None,
        init: Iterable[Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> None: ...
    def read_port(self, *, domain: str = "sync", transparent_for: Sequence[Any] = ()) -> Any: ...
    def write_port(self, *, domain: str = "sync", granularity: int | None = None) -> Any: ...
