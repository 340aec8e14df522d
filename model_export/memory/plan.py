"""The plan of a memory image: what stays in the memories, what passes through them, and what each
memory would have to hold for nothing to."""

from collections.abc import Iterable
from dataclasses import dataclass

from tritforge.common.json_types import JsonObject
from tritforge.hw.widths import TABLE_ENTRIES
from tritforge.model_export.memory.emit import MemoryImage
from tritforge.model_export.memory.schedule import Load, Schedule, Store, Write
from tritforge.model_export.network import Network

__all__ = ["LayerUse", "MemoryUse", "layer_uses", "memory_uses"]


@dataclass(frozen=True)
class MemoryUse(JsonObject):
    """A kind of memory.

    Members
    -------
    memory : str
        ``activations``, ``trits``, ``program``, ``rows`` or ``tables``.
    words : int
        Of one of them: entries, columns; of activation tables how many there are.
    needed : int or None
        Of these, what is in use, or would hold everything of the network at once; None: no memory
        is large enough.
    stays : bool
        Everything is there at once; otherwise it passes through in every run.
    """

    memory: str
    words: int
    needed: int | None
    stays: bool

    @property
    def lacking(self) -> int | None:
        """Words by which it would have to grow."""
        return None if self.needed is None else max(0, self.needed - self.words)


@dataclass(frozen=True)
class LayerUse(JsonObject):
    """A layer of a streamed network; words are the port's, of 32 bits, for every image.

    Members
    -------
    passes, strips : int
        In how many passes it runs, over how many strips of its rows.
    chip_words : int
        Most activation words of each slice that are in use meanwhile.
    from_host : tuple of str
        Tensors that it reads and the host keeps.
    to_host : bool
        Its output goes to the host.
    activation_words, trit_words, other_words : int
        Sent: strips; trit columns; program, rows and activation tables.
    read_words : int
        Read back.
    """

    layer: str
    passes: int
    strips: int
    chip_words: int
    from_host: tuple[str, ...]
    to_host: bool
    activation_words: int
    trit_words: int
    other_words: int
    read_words: int


def memory_uses(memory: MemoryImage) -> tuple[MemoryUse, ...]:
    """All kinds of memory that a configuration has, the largest first."""
    config, schedule = memory.config, memory.schedule
    words = {
        "activations": config.activation_depth,
        "trits": config.trit_depth,
        "program": config.program_depth,
        "rows": config.row_depth,
    }
    if config.activation_tables:
        words["tables"] = config.activation_tables
    if schedule is None:
        needed: dict[str, int | None] = {
            "activations": memory.activation_words,
            "trits": memory.trits.shape[1],
            "program": len(memory.program),
            "rows": len(memory.rows),
            "tables": len(memory.tables) // TABLE_ENTRIES,
        }
        stays = set(words)
    else:
        needed = {one.memory: one.words for one in schedule.needed}
        stays = set(schedule.resident)
        if not any(
            place.external for name, place in memory.tensors.items() if name != memory.input
        ):
            stays.add("activations")
    return tuple(
        MemoryUse(name, count, needed.get(name), name in stays) for name, count in words.items()
    )


def layer_uses(network: Network, memory: MemoryImage) -> list[LayerUse]:
    """The layers of a streamed image, in order; none where all is in the memories."""
    schedule = memory.schedule
    if schedule is None:
        return []
    born = {network.input: 0} | {layer.output: n for n, layer in enumerate(network.layers)}
    died = dict(born)
    for index, layer in enumerate(network.layers):
        died |= {group.source: index for group in layer.groups}
    result = []
    for index, layer in enumerate(network.layers):
        numbers = schedule.of_layer(layer.name)
        passes = [schedule.passes[number] for number in numbers]
        live = [
            (place.base, place.base + place.size)
            for name, place in memory.tensors.items()
            if not place.external and born[name] <= index <= died[name]
        ]
        for one in passes:
            strips = (*one.loads, *([] if one.output is None else [one.output]))
            live += [(strip.base, strip.base + strip.words) for strip in strips]
        sent = _sent(memory, schedule, numbers)
        sources = sorted({group.source for group in layer.groups})
        result.append(
            LayerUse(
                layer.name,
                len(passes),
                len({one.rows for one in passes}),
                _covered(live),
                tuple(name for name in sources if memory.tensors[name].external),
                not layer.final and memory.tensors[layer.output].external,
                sent["activations"],
                sent["trits"],
                sent["program"] + sent["rows"] + sent["tables"],
                sent["back"],
            )
        )
    return result


def _sent(memory: MemoryImage, schedule: Schedule, numbers: range) -> dict[str, int]:
    """Port words by memory, and ``back``: those that are read."""
    config = memory.config
    chunks = config.memory_chunks("activations")
    sent = dict.fromkeys(("activations", "trits", "program", "rows", "tables", "back"), 0)
    for step in schedule.steps(config, numbers):
        if isinstance(step, Write):
            sent[step.memory] += step.count * config.memory_chunks(step.memory)
        elif isinstance(step, Load):
            sent["activations"] += step.strip.words * config.clusters * chunks
        elif isinstance(step, Store):
            sent["back"] += step.strip.words * len(step.slices) * chunks
    return sent


def _covered(spans: Iterable[tuple[int, int]]) -> int:
    """Words that lie in at least one of the spans."""
    total = end = 0
    for start, stop in sorted(spans):
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total
