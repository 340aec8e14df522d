"""Processing element: exact sums, exact cycles, nothing lost, whatever the drain does meanwhile."""

from collections import deque

import numpy as np
import pytest

from tests.hw.benches import lint, multiplications, simulate
from tritforge.hw.config import Config
from tritforge.hw.processing_element import ProcessingElement
from tritforge.hw.timing import (
    BROADCAST_FLIGHT,
    BROADCAST_LATENCY,
    addition_latency,
    queue_places,
)

#: From an entry's arrival to its first addition.
ADDITION_LATENCY = 3
#: From the zero skip's decision, with the register of ``full`` before its eyes, to the entry's
#: arrival.
FLIGHT = BROADCAST_LATENCY


def configuration(rows, **values):
    return Config(**({"rows": rows, "elements": 1, "packet_words": 126} | values))


def random_entry(rng, config, density):
    if config.multipliers and rng.random() < 0.5:
        return random_wide_entry(rng, config, density)
    nonzero = sum(1 << row for row in range(config.rows) if rng.random() < density)
    limit = 1 << (config.product_width - 1)
    return {
        "nonzero": nonzero,
        "negative": int(rng.integers(0, 1 << config.rows)) & nonzero,
        "plus": int(rng.integers(-limit, limit)),
        "minus": int(rng.integers(-limit, limit)),
        "rows_used": int(rng.integers(1, config.rows + 1)),
    }


def random_wide_entry(rng, config, density, **values):
    count, limit = config.quarter_rows, 1 << (config.product_width - 1)
    weights = rng.integers(-128, 128, count)
    weights[rng.random(count) < 0.2] = rng.choice([-128, -1, 1, 127])
    weights[rng.random(count) >= density] = 0
    return {
        "weights": weights.tolist(),
        "quarter": int(rng.integers(4)),
        "plus": int(rng.integers(-limit, limit)),
        "minus": int(rng.integers(-limit, limit)),
        "rows_used": int(rng.integers(1, config.rows + 1)),
    } | values


def used(config, entry):
    """Nonzero trits that count: all, or those of rows in use where zeros take their cycle."""
    nonzero = nonzero_rows(config, entry)
    if config.skip_zero_weights:
        return nonzero
    return nonzero & ((1 << entry["rows_used"]) - 1)


def nonzero_rows(config, entry):
    """Rows with a trit or a weight, one bit each."""
    if "weights" not in entry:
        return entry["nonzero"]
    first = entry["quarter"] * config.quarter_rows
    return sum(1 << first + row for row, weight in enumerate(entry["weights"]) if weight)


def visited(config, entry):
    """Rows that take a cycle, in order."""
    if config.skip_zero_weights:
        nonzero = nonzero_rows(config, entry)
        return [row for row in range(config.rows) if nonzero >> row & 1]
    if "weights" not in entry:
        return list(range(entry["rows_used"]))
    first = entry["quarter"] * config.quarter_rows
    return list(range(first, min(entry["rows_used"], first + config.quarter_rows)))


def sums(config, entries):
    """Accumulators after a pixel's entries, from the definition."""
    result = [0] * config.rows
    for entry in entries:
        for row in range(config.rows):
            if not used(config, entry) >> row & 1:
                continue
            if "weights" in entry:
                result[row] += entry["weights"][row % config.quarter_rows] * entry["plus"]
            else:
                result[row] += entry["minus" if entry["negative"] >> row & 1 else "plus"]
    return result


def offer(ctx, element, config, entry, tag):
    """Show an entry (None: nothing) at the element's input for this cycle."""
    ctx.set(element.valid, int(entry is not None))
    if entry is None:
        return
    products = {"plus": entry["plus"], "minus": entry["minus"], "tag": tag}
    if "weights" in entry:
        word = sum((weight & 0xFF) << 8 * row for row, weight in enumerate(entry["weights"]))
        low = (1 << config.rows) - 1
        ctx.set(element.trits, {"nonzero": word & low, "negative": word >> config.rows})
        products |= {"wide": 1, "quarter": entry["quarter"]}
    else:
        ctx.set(element.trits, {"nonzero": entry["nonzero"], "negative": entry["negative"]})
        if config.multipliers:
            products |= {"wide": 0, "quarter": 3}
    if not config.skip_zero_weights:
        products["rows_used"] = entry["rows_used"]
    ctx.set(element.i, products)


def run_pixels(config, pixels, rng, issue=1.0, pause=0.0):
    """Send pixels as a cluster does, drain each when it is finished; return what was drained.

    What the sender issues arrives FLIGHT cycles later.
    ``issue`` is the share of cycles with a broadcast, ``pause`` how often the drain dawdles.
    """
    element = ProcessingElement(config)
    tags = 2 * config.banks
    drained, additions = [], 0

    async def bench(ctx):
        nonlocal additions
        pending = [(number, entry) for number, pixel in enumerate(pixels) for entry in pixel]
        left = [len(pixel) for pixel in pixels]  # entries not yet at the element
        pipe = deque([None] * FLIGHT)
        oldest, passed, row, values, stop = 0, False, None, [], False
        pending.reverse()
        while oldest < len(pixels):
            number, entry = pipe.popleft() or (None, None)
            offer(ctx, element, config, entry, (number or 0) % tags)
            ctx.set(element.awaited, oldest % tags)
            draining = row is not None and rng.random() >= pause
            ctx.set(element.take, int(draining))
            ctx.set(element.drain_bank, oldest % config.banks)
            ctx.set(element.drain_row, row if draining else 0)
            last = draining and row == config.rows - 1
            additions += ctx.get(element.added)
            # ``busy`` is of the cycle before, and ``full`` passes a register.
            complete = passed and not ctx.get(element.busy)
            may = pending and pending[-1][0] - oldest < config.banks and not stop
            stop = ctx.get(element.full)
            pipe.append(pending.pop() if may and rng.random() < issue else None)
            await ctx.tick()
            passed = row is None and left[oldest] == 0 and not complete
            if number is not None:
                left[number] -= 1
            if draining:
                values.append(ctx.get(element.value))
                row += 1
            if complete:
                row = 0
            if last:
                drained.append(values)
                row, values = None, []
                oldest += 1

    simulate(element, bench)
    return drained, additions


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(
    ("rows", "banks", "depth", "multipliers"),
    [
        (1, 2, 4, False),
        (3, 2, 2, False),
        (5, 4, 1, False),
        (16, 2, 2, False),
        (7, 8, 10, False),
        (8, 2, 10, False),
        (4, 2, 2, True),
        (8, 2, 10, True),
        (16, 4, 4, True),
    ],
)
def test_sums(rows, banks, depth, multipliers, skip):
    """Random pixels, some of them empty, at several densities of trits, broadcasts and drains.

    A depth of 2 or 10 leaves no spare place in the queue.
    """
    config = configuration(
        rows,
        banks=banks,
        queue_depth=depth,
        skip_zero_weights=skip,
        multipliers=multipliers,
        accumulator_width=32,
    )
    rng = np.random.default_rng(rows)
    for density, issue, pause in (
        (0.3, 1.0, 0.0),
        (0.6, 0.5, 0.5),
        (1.0, 1.0, 0.1),
        (0.1, 0.9, 0.9),
    ):
        pixels = [
            [random_entry(rng, config, density) for _ in range(rng.integers(0, 14))]
            for _ in range(12)
        ]
        drained, additions = run_pixels(config, pixels, rng, issue, pause)
        assert drained == [sums(config, pixel) for pixel in pixels]
        assert additions == sum(
            used(config, entry).bit_count() for pixel in pixels for entry in pixel
        )
        assert density < 0.5 or additions > 30


@pytest.mark.parametrize("depth", [1, 2, 4, 10, 16])
def test_nothing_is_lost_when_the_sender_stops_late(depth):
    """The fullest queue: all trits nonzero, a broadcast in every cycle until ``full`` arrives."""
    config = configuration(16, queue_depth=depth)
    rng = np.random.default_rng(depth)
    assert queue_places(config) >= depth + BROADCAST_FLIGHT + 1
    pixels = [[random_entry(rng, config, 1.0) for _ in range(3 * depth + 20)]]
    drained, additions = run_pixels(config, pixels, rng)
    assert drained == [sums(config, pixels[0])]
    assert additions == 16 * len(pixels[0])


def schedule(config, arrivals):
    """What the docstring promises: cycles in which ``added``, ``full`` and ``pushed`` show.

    ``arrivals`` is a list over cycles of entries or None.
    """
    added, pushes, pops = set(), [], []
    free_at = 0
    for cycle, entry in enumerate(arrivals):
        if entry is None or not visited(config, entry):
            continue
        first = max(cycle + ADDITION_LATENCY, free_at)
        rows = visited(config, entry)
        length = len(rows)
        nonzero = nonzero_rows(config, entry)
        added.update(first + at for at, row in enumerate(rows) if nonzero >> row & 1)
        pushes.append(cycle)
        pops.append(first - 2)  # its first group is taken up, then to the adder
        free_at = first + length
    full = {
        cycle
        for cycle in range(len(arrivals) + 600)
        if sum(push < cycle for push in pushes) - sum(pop < cycle for pop in pops)
        >= config.queue_depth
    }
    return added, full, {push + 1 for push in pushes}


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(
    ("rows", "multipliers"),
    [(1, False), (3, False), (5, False), (16, False), (4, True), (8, True), (16, True)],
)
def test_cycles(rows, multipliers, skip):
    """k nonzero trits take k cycles without a gap, an all-zero word none, the first after three;
    so do k nonzero weights."""
    rng = np.random.default_rng(rows)
    config = configuration(rows, queue_depth=4, skip_zero_weights=skip, multipliers=multipliers)
    places = queue_places(config)
    for density, share in ((1.0, 1.0), (0.5, 1.0), (0.2, 1.0), (0.5, 0.4), (0.0, 1.0)):
        arrivals = [
            random_entry(rng, config, density) if rng.random() < share else None
            for _ in range(places)
        ]
        element = ProcessingElement(config)
        added, full, pushed = set(), set(), set()

        async def bench(
            ctx, element=element, arrivals=arrivals, added=added, full=full, pushed=pushed
        ):
            idle = [None] * (places * rows + 8)
            for cycle, entry in enumerate(arrivals + idle):
                offer(ctx, element, config, entry, 0)
                for name, seen in (("added", added), ("full", full), ("pushed", pushed)):
                    if ctx.get(getattr(element, name)):
                        seen.add(cycle)
                await ctx.tick()

        simulate(element, bench)
        assert (added, full, pushed) == schedule(config, arrivals)


@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize(
    ("wait", "there"), [(ADDITION_LATENCY - 1, False), (ADDITION_LATENCY + 1, True)]
)
def test_a_sum_can_be_taken_four_cycles_after_arrival(rows, wait, there):
    """Row r of an entry of all rows is added r cycles after row 0; take it then, not before."""
    config = configuration(rows)
    entry = {"nonzero": (1 << rows) - 1, "negative": 1, "plus": 1000, "minus": -77}
    for row in range(rows):
        element = ProcessingElement(config)
        values = []

        async def bench(ctx, element=element, row=row, values=values):
            ctx.set(element.drain_bank, 1)
            ctx.set(element.drain_row, row)
            offer(ctx, element, config, entry, 1)
            await ctx.tick()
            offer(ctx, element, config, None, 1)
            for _ in range(wait + row - 1):
                await ctx.tick()
            ctx.set(element.take, 1)
            await ctx.tick()
            values.append(ctx.get(element.value))
            ctx.set(element.take, 0)
            ctx.set(element.drain_row, 0)
            ctx.set(element.drain_bank, 0)
            await ctx.tick().repeat(3)
            values.append(ctx.get(element.value))  # and it stays

        simulate(element, bench)
        assert values == [(-77 if row == 0 else 1000) if there else 0] * 2


@pytest.mark.parametrize("gate_clocks", [False, True])
@pytest.mark.parametrize("rows", [4, 8, 16])
def test_every_weight_of_every_row(rows, gate_clocks):
    """All 256 weights in every row of every quarter, with products of both signs and extremes."""
    config = configuration(
        rows, multipliers=True, accumulator_width=32, queue_depth=16, gate_clocks=gate_clocks
    )
    rng = np.random.default_rng(rows)
    count, limit = config.quarter_rows, 1 << (config.product_width - 1)
    entries = []
    for plus in (limit - 1, -limit, 1, -77):
        for quarter in range(4):
            for weight in range(-128, 128):
                weights = [(weight + 128 + 67 * row) % 256 - 128 for row in range(count)]
                entry = random_wide_entry(
                    rng, config, 1.0, weights=weights, quarter=quarter, plus=plus
                )
                entries.append(entry)
    pixels = [entries[first : first + 8] for first in range(0, len(entries), 8)]
    drained, additions = run_pixels(config, pixels, rng)
    assert drained == [sums(config, pixel) for pixel in pixels]
    assert additions == 4 * 4 * 255 * count


@pytest.mark.parametrize("rows", [4, 8, 16])
@pytest.mark.parametrize("early", [True, False])
def test_a_multiplied_sum_can_be_taken_a_cycle_later(rows, early):
    config = configuration(rows, multipliers=True)
    assert addition_latency(config) == addition_latency(configuration(rows)) + 1
    element = ProcessingElement(config)
    entry = {"weights": [-3] + [0] * (config.quarter_rows - 1), "quarter": 2, "plus": 5, "minus": 9}
    values = []

    async def bench(ctx):
        ctx.set(element.drain_row, 2 * config.quarter_rows)
        offer(ctx, element, config, entry, 0)
        await ctx.tick()
        offer(ctx, element, config, None, 0)
        await ctx.tick().repeat(ADDITION_LATENCY - early)
        await ctx.tick()
        ctx.set(element.take, 1)
        await ctx.tick()
        values.append(ctx.get(element.value))

    simulate(element, bench)
    assert values == [0 if early else -15]


def test_busy_is_about_the_oldest_pixel():
    """Entries of tag 2 are sent, then one of tag 3; ``oldest`` moves on when tag 2 is over. Or all
    are of tag 2, while tag 1 is the oldest."""
    config = configuration(4, banks=2)
    entry = {"nonzero": 0b1111, "negative": 0, "plus": 1, "minus": 1}
    last = {"nonzero": 0b0101, "negative": 0, "plus": 1, "minus": 1}
    # Entry 0 is popped in cycle 1 and added in 3 to 6, entry 1 in 7 to 10, the last in 11 and 12.
    # An entry counts from the cycle after its arrival until its last addition begins, and the
    # output is one cycle behind: cycles 2 to 10 for tag 2, until 12 for tag 3.
    for switch, expected in ((99, range(2, 11)), (10, range(2, 13)), (0, range(0))):
        element = ProcessingElement(config)
        busy = []

        async def bench(ctx, element=element, switch=switch, busy=busy):
            for cycle in range(20):
                ctx.set(element.awaited, 1 if switch == 0 else 2 if cycle < switch else 3)
                offer(
                    ctx,
                    element,
                    config,
                    [entry, entry, last][cycle] if cycle < 3 else None,
                    2 if cycle < 2 or switch == 0 else 3,
                )
                if ctx.get(element.busy):
                    busy.append(cycle)
                await ctx.tick()

        simulate(element, bench)
        assert busy == list(expected), switch


def test_taking_leaves_zero():
    config = configuration(3, banks=2)
    element = ProcessingElement(config)

    async def bench(ctx):
        async def send(nonzero, plus, tag=0):
            entry = {"nonzero": nonzero, "negative": 0, "plus": plus, "minus": 0}
            offer(ctx, element, config, entry, tag)
            await ctx.tick()
            offer(ctx, element, config, None, 0)
            await ctx.tick().repeat(8)

        async def take(bank):
            ctx.set(element.take, 1)
            ctx.set(element.drain_bank, bank)
            result = []
            for row in range(3):
                ctx.set(element.drain_row, row)
                await ctx.tick()
                result.append(ctx.get(element.value))
            ctx.set(element.take, 0)
            return result

        await send(0b011, 100)
        await send(0b110, 7)
        assert await take(1) == [0, 0, 0]  # another bank: this one keeps its sums
        assert await take(0) == [100, 107, 7]
        assert await take(0) == [0, 0, 0]
        await send(0b010, 5)
        await send(0b010, -9, tag=1)
        await send(0b011, 5, tag=2)  # tag 2 is bank 0 again
        assert await take(0) == [5, 10, 0]
        assert await take(1) == [0, -9, 0]

    simulate(element, bench)


def test_banks_do_not_disturb_each_other():
    """Additions to one bank go on at full speed while another is emptied in every cycle."""
    config = configuration(4, banks=2, queue_depth=8)
    element = ProcessingElement(config)
    added, taken = [], []

    async def bench(ctx):
        entry = {"nonzero": 0b1111, "negative": 0, "plus": 3, "minus": 0}
        for cycle in range(60):
            first = cycle < 3
            second = 20 <= cycle < 29
            offer(ctx, element, config, entry if first or second else None, 0 if first else 1)
            ctx.set(element.drain_bank, 0)
            ctx.set(element.take, int(cycle >= 20))
            ctx.set(element.drain_row, cycle % 4)
            if cycle > 20:
                taken.append(ctx.get(element.value))
            added.append(ctx.get(element.added))
            await ctx.tick()
        ctx.set(element.drain_bank, 1)
        for row in range(4):
            ctx.set(element.drain_row, row)
            await ctx.tick()
            assert ctx.get(element.value) == 27

    simulate(element, bench)
    assert added[23:60] == [1] * 36 + [0]
    assert taken == [9] * 4 + [0] * 35


@pytest.mark.compiles
@pytest.mark.parametrize(
    "values", [{}, {"skip_zero_weights": False}, {"banks": 8}, {"accumulator_width": 32}]
)
@pytest.mark.parametrize("rows", [1, 5, 16])
def test_verilog(rows, values, tmp_path):
    text = lint(ProcessingElement(configuration(rows, **values)), "processing_element", tmp_path)
    assert multiplications(text) == 0


@pytest.mark.compiles
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("rows", [4, 8, 16])
def test_verilog_with_a_multiplier(rows, skip, tmp_path):
    config = configuration(rows, multipliers=True, skip_zero_weights=skip)
    text = lint(ProcessingElement(config), "processing_element", tmp_path)
    assert multiplications(text) == 1
