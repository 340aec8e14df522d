"""Terms of the clusters: from activation memory to accumulators."""

import math
from collections.abc import Iterator

from tritforge.cost.terms.prices import Prices, widest
from tritforge.cost.terms.term import Term, term
from tritforge.hw.config import Config
from tritforge.hw.payloads import address_width
from tritforge.hw.widths import ACTIVATION_WIDTH, WEIGHT_WIDTH

__all__ = ["ARRAY"]


def activation_memory(prices: Prices) -> Iterator[Term]:
    yield term(
        "activation memory",
        "memories",
        "activation_reads",
        "a word for the walker",
        prices.access(prices.area.memory_of("activations"), write=False),
    )


def slices(prices: Prices) -> Iterator[Term]:
    config = prices.config
    block = prices.area.block("slice")
    yield term(
        "walkers",
        "slice",
        "activation_reads",
        "whose turn it is",
        (
            prices.part(
                "select_bit",
                address_width(config.activation_depth) * math.log2(max(2, config.sets)),
                "bits of addresses to choose from",
            ),
            prices.part(
                "register_bit",
                block.gated_flip_flops / config.clusters,
                "gated flip-flops of the slice",
            ),
            prices.changes(block.flip_flops / config.clusters, "other flip-flops of the slice"),
        ),
    )


def walkers(prices: Prices) -> Iterator[Term]:
    clusters = prices.config.cluster_count
    address = address_width(prices.config.activation_depth)
    block = prices.area.block("walker")
    yield term(
        "walkers",
        "walker",
        "activation_reads",
        "next address, word passed on",
        (
            prices.part("add_bit", 3 * address, "bits of three address counters"),
            prices.part(
                "register_bit",
                block.gated_flip_flops / clusters * 0.5,
                "half of the walker's gated flip-flops",
            ),
            prices.changes(block.flip_flops / clusters, "other flip-flops of the walker"),
            prices.part("register_file_write", widest(block.memories), "bits of the word queue"),
            prices.part("register_file_read", widest(block.memories), "bits of the word queue"),
        ),
    )


def zero_skip(prices: Prices) -> Iterator[Term]:
    config = prices.config
    block = prices.area.block("zero skip")
    column = address_width(config.trit_depth)
    yield term(
        "walkers",
        "zero skip",
        "activation_reads",
        "nonzero lanes of a word",
        (
            prices.part("select_bit", ACTIVATION_WIDTH * config.scan_width, "bits of a word"),
            prices.part(
                "register_bit",
                block.gated_flip_flops / config.cluster_count,
                "flip-flops that hold the word",
            ),
        ),
    )
    yield term(
        "walkers",
        "zero skip",
        "broadcasts",
        "choice of the lane",
        (
            prices.part(
                "select_bit",
                (ACTIVATION_WIDTH + column) * math.log2(max(2, config.scan_width)),
                "bits of choices in a row",
            ),
            prices.part("add_bit", column, "bits of the column's address"),
        ),
    )


def trit_memory(prices: Prices) -> Iterator[Term]:
    yield term(
        "trit memory",
        "memories",
        "broadcasts",
        "the column's trits for all elements",
        prices.access(prices.area.memory_of("trits"), write=False),
    )


def scalers(prices: Prices) -> Iterator[Term]:
    config = prices.config
    yield term(
        "scalers",
        "scaler",
        "broadcasts",
        "two products",
        (
            prices.part(
                "multiply_bit2",
                2 * ACTIVATION_WIDTH * config.coefficient_width,
                "products of the factors' bits",
            ),
            prices.changes(
                prices.area.block("scaler").flip_flops / config.cluster_count,
                "flip-flops of the scaler",
            ),
        ),
    )


def broadcast(prices: Prices) -> Iterator[Term]:
    clusters = prices.config.cluster_count
    wires = 2 * prices.config.product_width + 3
    block = prices.area.block("cluster")
    yield term(
        "broadcast",
        "cluster",
        "broadcasts",
        "trits and products to the elements",
        (
            prices.wires(wires, f"{wires} wires across the cluster"),
            prices.part(
                "register_bit",
                block.gated_flip_flops / clusters - prices.chain,
                "gated flip-flops in front of the elements",
            ),
            prices.changes(block.flip_flops / clusters, "other flip-flops of the cluster"),
        ),
    )


def queues(prices: Prices) -> Iterator[Term]:
    # the select's part of an entry, and the products (hw/processing_element.py)
    entry = sum(one.memory.width for one in prices.area.block("element").memories)
    yield term(
        "queues",
        "element",
        "queue_writes",
        "an entry written and read",
        (
            prices.part("register_file_write", entry, "bits of an entry"),
            prices.part("register_file_read", entry, "bits of an entry"),
        ),
    )


def adders(prices: Prices) -> Iterator[Term]:
    config = prices.config
    block = prices.area.block("element")
    gated = block.gated_flip_flops / config.adders
    if config.multipliers:
        gated -= _weight_registers(config) + _addend_registers(config)
    yield term(
        "adders",
        "element",
        "adds",
        "next trit, choice of the product",
        (
            prices.part("select_bit", config.product_width, "bits of a product"),
            prices.part("add_bit", 4, "bits of the lowest nonzero trit"),
            prices.part(
                "register_bit",
                0.5 * max(0.0, gated),
                "half of the element's gated flip-flops",
            ),
            prices.changes(block.flip_flops / config.adders, "other flip-flops of the element"),
        ),
    )
    yield term(
        "adders",
        "accumulators",
        "adds",
        "addition",
        (
            prices.part("add_bit", config.accumulator_width, "bits of an accumulator"),
            prices.part("select_bit", config.accumulator_width, "bits, zero or the old value"),
        ),
    )


def multipliers(prices: Prices) -> Iterator[Term]:
    config = prices.config
    if not config.multipliers:
        return
    yield term(
        "adders",
        "element",
        "adds",
        "product or product with a weight, kept for the addition",
        (
            prices.part("select_bit", config.addend_width, "bits of what is added"),
            prices.part(
                "register_bit",
                _addend_registers(config),
                "flip-flops of what is added, and of its place",
            ),
        ),
    )
    yield term(
        "adders",
        "element",
        "wide_adds",
        "product with a weight",
        (
            prices.part(
                "multiply_bit2",
                WEIGHT_WIDTH * config.product_width,
                "products of the factors' bits",
            ),
            prices.part(
                "register_bit",
                _weight_registers(config) / config.quarter_rows,
                "flip-flops of the weights of an entry, shared by its rows",
            ),
        ),
    )


def _weight_registers(config: Config) -> int:
    """Gated flip-flops of an element that hold the weights at work."""
    return 2 * config.rows


def _addend_registers(config: Config) -> int:
    """Gated flip-flops between an element's multiplier and its accumulators."""
    places = address_width(config.rows) + address_width(config.banks)
    return config.addend_width + places


def accumulators(prices: Prices) -> Iterator[Term]:
    # a further bit says whether an accumulator counts as zero
    stored = prices.config.accumulator_width + 1
    yield term(
        "accumulators",
        "accumulators",
        "adds",
        "old value read, sum written",
        (
            prices.part("register_file_read", stored, "bits of an accumulator"),
            prices.part("register_file_write", stored, "bits of an accumulator"),
        ),
    )


#: In the order in which an activation meets them.
ARRAY = (
    activation_memory,
    slices,
    walkers,
    zero_skip,
    trit_memory,
    scalers,
    broadcast,
    queues,
    adders,
    multipliers,
    accumulators,
)
