from typing import Any

from amaranth.hdl import ShapeLike
from amaranth.lib import wiring

class Signature(wiring.Signature):
    payload_shape: Any
    always_valid: bool
    always_ready: bool
    def __init__(
        self,
        payload_shape: ShapeLike,
        *,
        payload_init: Any = None,
        always_valid: bool = False,
        always_ready: bool = False,
    ) -> None: ...

class Interface:
    payload: Any
    valid: Any
    ready: Any
    @property
    def p(self) -> Any: ...
    def __init__(self, signature: Signature, *, path: Any = None, src_loc_at: int = 0) -> None: ...
