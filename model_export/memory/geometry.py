"""Geometry and destination tables: what depends on an output pixel's row or column.

They are computed for a range of output positions, so that a layer can be cut into strips.
"""

from tritforge.hw.config import Config
from tritforge.hw.program import DESTINATION, GEOMETRY, encode_words
from tritforge.model_export.errors import ExportError
from tritforge.model_export.network import ColumnGroup, Layer, Pool

__all__ = ["Tables", "check_pool", "computed", "destination", "geometry", "pool_axis"]

#: Kernel, stride, padding, pooled size along one axis; None: not pooled.
PoolAxis = tuple[int, int, int, int] | None


class Tables:
    """Deduplicated tables that stand behind the records from program address ``start`` on."""

    def __init__(self, start: int) -> None:
        self.words: list[int] = []
        self._start = start
        self._known: dict[tuple[int, ...], int] = {}

    def add(self, words: list[int]) -> int:
        """Program address of a table with these words."""
        key = tuple(words)
        if key not in self._known:
            self._known[key] = self._start + len(self.words)
            self.words += words
        return self._known[key] & 0xFFFF


def geometry(
    group: ColumnGroup,
    axis: int,
    out: range,
    kernel: range,
    size: int,
    step: int,
    trit_step: int,
    first: int = 0,
) -> list[int]:
    """GEOMETRY entries of output positions ``out`` along one axis (0: rows, 1: columns).

    Parameters
    ----------
    kernel : range
        Kernel positions whose columns stand in the trit memory.
    size : int
        Rows (columns) of the source.
    step, trit_step : int
        Activation words and trit columns between two of them.
    first : int
        The source's row (column) that stands first in the activation memory.
    """
    words: list[int] = []
    places, inside = group.positions(axis, out, size)
    places, inside = places[:, kernel.start : kernel.stop], inside[:, kernel.start : kernel.stop]
    start = inside.argmax(axis=1)
    count = inside.sum(axis=1)
    for position in range(len(out)):
        if not count[position]:
            words += encode_words(GEOMETRY)
            continue
        kernel_first = int(start[position])
        words += encode_words(
            GEOMETRY,
            offset=(int(places[position, kernel_first]) - first) * step,
            count=int(count[position]),
            trit_offset=kernel_first * trit_step,
        )
    return words


def destination(layer: Layer, axis: int, out: range, step: int, places: range) -> list[int]:
    """DESTINATION entries of output positions ``out`` along one axis (0: rows, 1: columns), which
    feed rows (columns) ``places`` of the tensor; ``step``: activation words between these, the
    first of which stands first in memory. Where a layer adds, none is fresh."""
    words: list[int] = []
    pool = pool_axis(layer.pool, axis)
    first = range(out.stop) if layer.blocks is None else layer.blocks.target(axis).tolist()
    for position in out:
        if pool is None:
            words += encode_words(
                DESTINATION,
                offset=(first[position] - places.start) * step,
                count=1,
                fresh=layer.addend is None,
            )
            continue
        kernel, stride, padding, _ = pool
        low = max(places.start, -(-(position + padding - kernel + 1) // stride))
        high = min(places.stop - 1, (position + padding) // stride)
        if low > high:
            words += encode_words(DESTINATION)
            continue
        # A pooled position is fresh where its window's first existing row (column) is this one.
        fresh = sum(max(0, place * stride - padding) == position for place in range(low, high + 1))
        words += encode_words(
            DESTINATION, offset=(high - places.start) * step, count=high - low + 1, fresh=fresh
        )
    return words


def pool_axis(pool: Pool | None, axis: int) -> PoolAxis:
    """One axis (0: rows, 1: columns) of a max-pool."""
    if pool is None:
        return None
    return (
        pool.kernel[axis],
        pool.stride[axis],
        pool.padding[axis],
        (pool.height, pool.width)[axis],
    )


def computed(out: range, pool: PoolAxis, places: range) -> int:
    """How many of the positions ``out`` feed some pooled one of ``places``."""
    if pool is None:
        return len(out)
    kernel, stride, padding, _ = pool
    fed = {
        position
        for place in places
        for position in range(place * stride - padding, place * stride - padding + kernel)
        if position in out
    }
    return len(fed)


def check_pool(layer: Layer, config: Config) -> None:
    """Refuse a max-pool that the hardware cannot do.

    Raises
    ------
    ExportError
    """
    if layer.pool is None:
        return
    for axis, out in enumerate((layer.height, layer.width)):
        kernel, stride, padding, size = pool_axis(layer.pool, axis) or (1, 1, 0, out)
        for place in range(size):
            start = place * stride - padding
            if -(-kernel // stride) > config.window_count:
                raise ExportError(
                    f"layer {layer.name} has a max-pool of kernel {kernel} and stride {stride}; "
                    f"at most {config.window_count} windows may overlap each way"
                )
            if max(start, 0) >= min(start + kernel, out):
                raise ExportError(
                    f"layer {layer.name} has a max-pool window (number {place} along "
                    f"{'yx'[axis]}) that lies entirely outside its input"
                )
