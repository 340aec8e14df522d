from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Elaboratable, Value

def convert(
    elaboratable: Elaboratable,
    name: str = "top",
    platform: Any = None,
    *,
    ports: Sequence[Value] | None = None,
    emit_src: bool = True,
    strip_internal_attrs: bool = False,
    **kwargs: Any,
) -> str: ...
