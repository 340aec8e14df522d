"""Terms of the drain: from accumulators to activation memories.

A step of the drain is ``drain_width`` rows of one set.
"""

import math
from collections.abc import Iterator

from tritforge.cost.terms.prices import Prices, widest
from tritforge.cost.terms.term import Term, term
from tritforge.hw.payloads import address_width
from tritforge.hw.widths import ACTIVATION_WIDTH, CODE_WIDTH

__all__ = ["DRAIN"]


def accumulators(prices: Prices) -> Iterator[Term]:
    config = prices.config
    values, accumulator = config.drain_width * config.clusters, config.accumulator_width
    yield term(
        "accumulators",
        "accumulators",
        "drain_steps",
        "accumulators taken",
        (
            prices.part("register_file_read", values * (accumulator + 1), "bits"),
            prices.part("register_file_write", values, "bits that say that it is zero"),
            prices.part("register_bit", values * accumulator, "bits of registers for taken values"),
        ),
    )


def chain(prices: Prices) -> Iterator[Term]:
    config = prices.config
    bits = config.drain_width * config.clusters * config.accumulator_width
    yield term(
        "drain",
        "cluster",
        "drain_steps",
        "values added to those passing by",
        (
            prices.part("add_bit", bits, "bits"),
            prices.part(
                "select_bit",
                bits * math.log2(max(2, config.elements // config.drain_width)),
                "bits, choice of the element",
            ),
            prices.part(
                "register_bit",
                config.clusters * prices.chain,
                "gated flip-flops of values and sums",
            ),
            prices.wires(bits, f"{bits} wires to the next cluster"),
        ),
    )
    yield term(
        "drain",
        "top",
        "drain_steps",
        "delay lines of the chain",
        (prices.changes(prices.area.block("top").flip_flops, "flip-flops around the clusters"),),
    )


def drain(prices: Prices) -> Iterator[Term]:
    yield term(
        "drain",
        "drain",
        "drain_steps",
        "next row, command",
        (
            prices.changes(prices.area.block("drain").flip_flops, "flip-flops of the drain"),
            prices.part("add_bit", 2 * address_width(prices.config.row_depth), "bits of addresses"),
        ),
    )


def requantizers(prices: Prices) -> Iterator[Term]:
    config = prices.config
    lanes, offset = config.drain_width, config.offset_width
    yield term(
        "requantizers",
        "requantizer",
        "drain_steps",
        "product, offset, shift, clamp",
        (
            prices.part(
                "multiply_bit2",
                lanes * config.accumulator_width * config.multiplier_width,
                "products of the factors' bits",
            ),
            prices.part(
                "add_bit", lanes * (offset + 2 * ACTIVATION_WIDTH), "bits of offset and clamp"
            ),
            prices.part("select_bit", lanes * offset * math.log2(offset), "bits of shifts"),
            prices.changes(
                prices.area.block("requantizer").flip_flops, "flip-flops of the requantizers"
            ),
        ),
    )
    yield term(
        "other memories",
        "memories",
        "drain_steps",
        "requantization and destination",
        prices.access(prices.area.memory_of("rows"), write=False),
    )
    if config.activation_tables:
        # Read in layers without a table too: what is read is then not used.
        yield term(
            "other memories",
            "memories",
            "drain_steps",
            "activation tables, one in each lane",
            prices.access(prices.area.memory_of("tables"), write=False, times=lanes),
        )


def write_back(prices: Prices) -> Iterator[Term]:
    config = prices.config
    merge = prices.area.block("merge")
    queued = config.drain_classes * widest(merge.memories)
    each = config.slice_values
    values = each * (ACTIVATION_WIDTH + (CODE_WIDTH + 1 if config.write_back_sums else 0))
    yield term(
        "write-back",
        "merge",
        "drain_steps",
        "values queued",
        (
            prices.part("register_file_write", queued, "bits of entries"),
            prices.part("register_file_read", queued, "bits of entries"),
        ),
    )
    yield term(
        "write-back",
        "merge",
        "write_backs",
        "visit of a pooled pixel",
        (
            prices.part(
                "add_bit",
                values + 2 * address_width(config.activation_depth),
                "bits of comparison, sum and addresses"
                if config.write_back_sums
                else "bits of comparison and addresses",
            ),
            prices.part(
                "register_bit",
                0.5 * merge.gated_flip_flops / config.clusters,
                "half of the merge's gated flip-flops",
            ),
            prices.changes(merge.flip_flops / config.clusters, "other flip-flops of the merge"),
        ),
    )


def activation_memory(prices: Prices) -> Iterator[Term]:
    activations = prices.area.memory_of("activations")
    yield term(
        "activation memory",
        "memories",
        "write_backs",
        "a word written, or activations of it",
        prices.access(activations, write=True),
    )
    yield term(
        "activation memory",
        "memories",
        "merge_reads",
        "a word read for the maximum or sum",
        prices.access(activations, write=False),
    )


def results(prices: Prices) -> Iterator[Term]:
    yield term(
        "other memories",
        "memories",
        "result_writes",
        "results of the last layer",
        prices.access(prices.results, write=True),
    )


#: In the order in which a sum meets them.
DRAIN = (
    accumulators,
    chain,
    drain,
    requantizers,
    write_back,
    activation_memory,
    results,
)
