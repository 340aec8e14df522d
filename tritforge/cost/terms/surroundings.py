"""Terms of what stands around the array: sequencer, counters, host port, and off the chip."""

from collections.abc import Iterator

from tritforge.cost.components import OFF_CHIP
from tritforge.cost.terms.prices import Prices, widest
from tritforge.cost.terms.term import Term, term
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["SURROUNDINGS"]

#: What goes through the host port: event, what it is, the memory, and whether that is written.
_TRANSFERS = (
    ("sent_trit_words", "a word of trits, rows or program sent", "trits", True),
    ("sent_activation_words", "a word of activations sent", "activations", True),
    ("read_words", "a word of activations read by the host", "activations", False),
    ("result_words", "a word of results read by the host", "results", False),
)


def program(prices: Prices) -> Iterator[Term]:
    block = prices.area.block("sequencer")
    yield term(
        "other memories",
        "memories",
        "cycles",
        "a program word, in every cycle at most",
        prices.access(prices.area.memory_of("program"), write=False),
    )
    yield term(
        "control",
        "sequencer",
        "cycles",
        "a program word decoded, at most",
        (
            prices.part("register_bit", PORT_WIDTH, "bits of a record"),
            prices.changes(block.flip_flops, "other flip-flops of the sequencer"),
            *(
                (
                    prices.part(
                        "register_file_write", widest(block.memories), "bits of a word read ahead"
                    ),
                    prices.part(
                        "register_file_read",
                        sum(one.memory.width * one.memory.count for one in block.memories),
                        "bits of a job's records and of a word",
                    ),
                )
                if block.memories
                else ()
            ),
        ),
    )


def counters(prices: Prices) -> Iterator[Term]:
    """Nothing where the configuration has no counters."""
    block = prices.area.block("counters")
    if not block.flip_flops:
        return
    yield term(
        "control",
        "counters",
        "cycles",
        "events gathered and summed",
        (
            prices.part(
                "add_bit",
                PORT_WIDTH + 0.25 * block.flip_flops,
                "bits of a sum and of what is gathered",
            ),
            prices.part("register_file_read", PORT_WIDTH, "bits of a sum"),
            prices.part("register_file_write", PORT_WIDTH, "bits of a sum"),
            prices.changes(block.flip_flops, "flip-flops of the counters"),
        ),
    )


def host_port(prices: Prices) -> Iterator[Term]:
    """Each word, on the chip and off it."""
    buffer = prices.area.memory_of("packet buffer")
    through = (
        *prices.access(buffer, write=True),
        *prices.access(buffer, write=False),
        prices.part("register_bit", 3 * PORT_WIDTH, "bits of registers on the way"),
        prices.changes(prices.area.block("host port").flip_flops, "flip-flops of the host port"),
    )
    outside = (prices.part("off_chip", PORT_WIDTH, "bits of a word"),)
    for event, what, memory, write in _TRANSFERS:
        target = prices.results if memory == "results" else prices.area.memory_of(memory)
        # a port word reaches the macros that hold its bits
        share = -(-PORT_WIDTH * target.cost.columns // target.cost.width) / target.cost.columns
        yield term(
            "host port",
            "host port",
            event,
            what,
            (*through, *prices.access(target, write=write, times=share)),
        )
        yield term(OFF_CHIP, "", event, what, outside)


SURROUNDINGS = (program, counters, host_port)
