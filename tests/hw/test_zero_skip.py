"""Zero skip: every nonzero activation once, with its column and pixel; exact cycles and events."""

import numpy as np
import pytest

from tests.hw.benches import Streams, lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.payloads import tag_width
from tritforge.hw.zero_skip import ZeroSkip


def configuration(lanes, **values):
    return Config(scan_width=lanes, trit_depth=500, **values)


def random_word(rng, config, density, last=0.3):
    limit = 1 << (config.coefficient_width - 1)
    lanes = int(rng.integers(0, config.scan_width + 1))
    return {
        "activations": [
            int(rng.integers(1, 256)) if rng.random() < density else 0
            for _ in range(config.scan_width)
        ],
        "lanes": lanes,
        "trit": int(rng.integers(0, 480)),
        "plus": int(rng.integers(-limit, limit)),
        "minus": int(rng.integers(-limit, limit)),
        "signed": int(rng.integers(0, 2)),
        "rows_used": int(rng.integers(1, config.rows + 1)),
        "last": int(lanes == 0 or rng.random() < last),
    }


def broadcasts(config, words):
    """What has to come out: (activation, column, plus, minus, signed, rows_used, tag)."""
    tag = 0
    for word in words:
        for lane in range(word["lanes"]):
            activation = word["activations"][lane]
            if activation or not config.skip_zero_activations:
                yield (
                    activation,
                    word["trit"] + lane,
                    word["plus"],
                    word["minus"],
                    word["signed"],
                    word["rows_used"],
                    tag,
                )
        tag += word["last"]


def run(config, words, rng, offered=1.0, stop=0.0, drain=1.0):
    """Feed words; check each broadcast; return totals of the events and the cycles it took.

    ``stop``: share of cycles in which an element is full. ``drain``: chance per cycle that
    the oldest pixel, once it is over, is drained.
    """
    block = ZeroSkip(config)
    expected = list(broadcasts(config, words))
    pixels = sum(word["last"] for word in words)
    tags = 1 << tag_width(config)
    seen, totals = (
        [],
        dict.fromkeys(
            ("skipped", "empty_scan", "stall_queue_full", "stall_imbalance", "stall_drain"), 0
        ),
    )
    cycles = 0
    over = False

    async def watch(ctx):
        nonlocal cycles, over
        oldest = finished = 0
        before = 0
        taken = 0
        while taken < len(words) or finished < pixels or len(seen) < len(expected):
            stopped, draining = rng.random() < stop, rng.random() < 0.5
            ctx.set(block.stop, int(stopped))
            ctx.set(block.oldest, oldest % tags)
            ctx.set(block.draining, int(draining))
            # Decided before the cycle's end: that its pixel is drained then.
            advance = oldest < finished and rng.random() < drain
            ctx.set(block.advance, int(advance))
            tag = ctx.get(block.tag)
            finished += (tag - before) % tags
            before = tag
            if ctx.get(block.valid):
                assert not stopped
                assert finished - oldest < config.banks
                seen.append(
                    (
                        ctx.get(block.activation),
                        ctx.get(block.column),
                        ctx.get(block.plus),
                        ctx.get(block.minus),
                        ctx.get(block.is_signed),
                        ctx.get(block.rows_used),
                        finished,
                    )
                )
            stalls = [ctx.get(getattr(block, name)) for name in list(totals)[1:]]
            assert sum(stalls) + ctx.get(block.valid) <= 1  # one reason, or work
            if ctx.get(block.stall_queue_full):
                assert stopped
            if ctx.get(block.stall_drain) or ctx.get(block.stall_imbalance):
                assert finished - oldest == config.banks
                assert ctx.get(block.stall_drain) == draining
            for name in totals:
                totals[name] += ctx.get(getattr(block, name))
            taken += ctx.get(block.i.valid) and ctx.get(block.i.ready)
            await ctx.tick()
            cycles += 1
            oldest += advance
            assert cycles < 40_000
        over = True

    async def drive(ctx):
        await Streams(rng, offered).put(ctx, block.i, words)

    simulate(block, drive, watch)
    assert over and seen == expected
    return totals, cycles


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(("lanes", "banks"), [(1, 2), (2, 4), (5, 2), (16, 8)])
def test_broadcasts_and_events(lanes, banks, skip):
    config = configuration(lanes, banks=banks, skip_zero_activations=skip)
    rng = np.random.default_rng(lanes)
    for density, offered, stop, drain in (
        (0.5, 1.0, 0.0, 1.0),
        (0.2, 0.5, 0.5, 0.5),
        (1.0, 1.0, 0.3, 0.008),
        (0.0, 1.0, 0.0, 0.3),
    ):
        words = [random_word(rng, config, density) for _ in range(60)]
        words.append(random_word(rng, config, density, last=1))
        totals, _ = run(config, words, rng, offered, stop, drain)
        used = [word["activations"][: word["lanes"]] for word in words]
        zeros = sum(values.count(0) for values in used)
        assert totals["skipped"] == (zeros if skip else 0)
        assert totals["empty_scan"] == sum(
            not any(values) if skip else not values for values in used
        )
        assert (totals["stall_queue_full"] > 0) == (stop > 0 and density > 0)
        if drain < 0.1:
            assert totals["stall_imbalance"] > 0 and totals["stall_drain"] > 0


@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_cycles(lanes):
    """A word with k nonzero activations takes max(k, 1) cycles, the first one cycle later."""
    config = configuration(lanes, banks=8)
    rng = np.random.default_rng(lanes)
    words = [random_word(rng, config, density) | {"last": 0} for density in (0.1, 0.4, 1.0) * 10]
    needed = sum(max(1, sum(map(bool, word["activations"][: word["lanes"]]))) for word in words)
    words.append(random_word(rng, config, 0) | {"lanes": 0, "last": 1})
    # One cycle until the first word is held, one for the end word, one to see the tag move.
    _, cycles = run(config, words, rng)
    assert cycles == needed + 3


def test_tag_moves_with_the_last_activation():
    config = configuration(4)
    block = ZeroSkip(config)
    word = {"activations": [1, 0, 3, 4], "lanes": 4, "last": 1, "trit": 10}

    async def bench(ctx):
        ctx.set(block.i.payload, word)
        ctx.set(block.i.valid, 1)
        await ctx.tick()
        ctx.set(block.i.valid, 0)
        seen = []
        for _ in range(5):
            seen.append((ctx.get(block.valid) and ctx.get(block.column), ctx.get(block.tag)))
            await ctx.tick()
        assert seen == [(10, 0), (12, 0), (13, 0), (0, 1), (0, 1)]

    simulate(block, bench)


@pytest.mark.compiles
@pytest.mark.parametrize("lanes", [1, 2, 5, 16])
def test_verilog(lanes, tmp_path):
    lint(ZeroSkip(configuration(lanes)), "zero_skip", tmp_path)
