"""Run control: the order of layers, what overlaps, and how runs end."""

import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.program import LAYER, LAYER_OPCODE, SYNC, SYNC_OPCODE, encode_words, record_words
from tritforge.hw.program_fetch import Word
from tritforge.hw.protocol import ErrorCode
from tritforge.hw.run_control import RunControl
from tritforge.hw.timing import DUMP_CYCLES, fetch_latency

CONFIG = Config()
SETTLE = 5
#: Cycles from the first request of a record to that in which it is looked at.
CHECKED = record_words(LAYER) + fetch_latency(CONFIG)
GOOD = encode_words(LAYER, opcode=LAYER_OPCODE, tile_count=1, out_height=2, out_width=3)


class Bench:
    """Records in the order in which they are read, in an accelerator that is done at once with the
    tiles of a layer, in ``work`` cycles, and of which all else is idle. ``seen`` is by name the
    cycles in which an output is high."""

    def __init__(self, records, work=10, signals=(), bad=False, wait_first=False):
        self.records, self.work, self.signals = records, work, signals
        self.bad, self.wait_first = bad, wait_first
        self.seen = {
            name: []
            for name in ("valid", "layer_start", "settled", "dump", "refilling", "jump", "finished")
        }
        self.error = self.layers = None

    async def run(self, ctx):
        block = self.block
        words = [word for record in self.records for word in record + [0] * (8 - len(record))]
        arriving, index, ends, dumped, start = {}, 0, None, 0, 0
        ctx.set(block.drain_idle, 1)
        ctx.set(block.layer_count, len([one for one in self.records if one[0] & 255 != 0xA2]))
        ctx.set(block.wait_first, int(self.wait_first))
        for cycle in range(-1, 400):
            ctx.set(block.start, int(cycle < 0))
            ctx.set(block.signal, int(cycle in self.signals))
            ctx.set(block.tiles_bad, int(self.bad))
            done = bool(ctx.get(block.valid)) and index % 8 == 7
            ctx.set(block.done, int(done))
            if ctx.get(block.valid):
                tag = {"kind": Word.LAYER, "index": index % 8}
                arriving[cycle + fetch_latency(CONFIG)] = {"tag": tag, "data": words[index]}
                index += 1
            ctx.set(block.arrived.valid, int(cycle in arriving))
            if cycle in arriving:
                ctx.set(block.arrived.payload, arriving[cycle])
            dumped = dumped + 1 if ctx.get(block.dump) else 0
            ctx.set(block.dump_done, int(dumped == DUMP_CYCLES))
            if ctx.get(block.layer_start):
                ends = cycle + self.work
            ctx.set(block.tiles_finished, int(ends is not None and cycle >= ends))
            for name, cycles in self.seen.items():
                if ctx.get(getattr(block, name)) and cycle >= start:
                    cycles.append(cycle)
            if self.seen["finished"]:
                self.error = ctx.get(block.error)
                await ctx.tick()
                self.layers = ctx.get(block.layers)
                assert not ctx.get(block.running)
                return
            await ctx.tick()

    def __call__(self):
        self.block = RunControl(CONFIG, settle=SETTLE)
        simulate(self.block, self.run)
        return self.seen


def test_a_layer():
    """Read, computed, settled, counted."""
    bench = Bench([GOOD])
    seen = bench()
    assert seen["valid"] == list(range(8))
    assert seen["layer_start"] == [CHECKED]
    settled = CHECKED + 10 + SETTLE + 1
    assert seen["settled"] == [settled]
    assert seen["dump"] == list(range(settled + 1, settled + 1 + DUMP_CYCLES))
    assert seen["finished"] == [settled + DUMP_CYCLES]
    assert (bench.error, bench.layers) == (ErrorCode.OK, 1)


def test_the_next_layer_is_read_while_counters_are_written():
    bench = Bench([GOOD, GOOD])
    seen = bench()
    first, second = seen["settled"]
    assert seen["valid"][8:] == list(range(first + 1, first + 9))
    assert seen["layer_start"][1] == first + 1 + CHECKED < seen["dump"][DUMP_CYCLES - 1]
    assert second == seen["layer_start"][1] + 10 + SETTLE + 1
    assert (bench.error, bench.layers) == (ErrorCode.OK, 2)


@pytest.mark.parametrize("late", [0, 30])
def test_a_sync_waits_for_the_counters(late):
    """And then for a signal."""
    sync = encode_words(SYNC, opcode=SYNC_OPCODE, wait=1, next=40)
    first = Bench([GOOD, GOOD])()["settled"][0]
    checked = first + 1 + DUMP_CYCLES
    bench = Bench([GOOD, sync, GOOD], signals=[checked + late])
    seen = bench()
    assert seen["jump"] == [checked]
    assert seen["refilling"] == list(range(checked + 1, checked + 1 + late))
    assert seen["layer_start"][1] == checked + late + 2 + CHECKED
    assert (bench.error, bench.layers) == (ErrorCode.OK, 2)


@pytest.mark.parametrize(
    "record",
    [
        [0],
        encode_words(LAYER, opcode=LAYER_OPCODE, tile_count=0, out_height=2, out_width=3),
        encode_words(LAYER, opcode=LAYER_OPCODE, tile_count=1, out_height=0, out_width=3),
        encode_words(LAYER, opcode=LAYER_OPCODE, tile_count=1, out_height=2, out_width=0),
    ],
)
def test_what_is_no_layer(record):
    empty = Bench([record])
    assert empty()["finished"] == [CHECKED]
    assert (empty.error, empty.layers) == (ErrorCode.EMPTY_PROGRAM, 0)
    bad = Bench([GOOD, record])
    seen = bad()
    assert seen["finished"] == [seen["dump"][-1] + 1]
    assert (bad.error, bad.layers) == (ErrorCode.BAD_PROGRAM, 1)


def test_a_bad_tile_ends_the_run_when_all_before_it_is_written():
    bench = Bench([GOOD], bad=True)
    seen = bench()
    assert seen["finished"] == [CHECKED + 10 + SETTLE + 1]
    assert not seen["dump"]
    assert (bench.error, bench.layers) == (ErrorCode.BAD_PROGRAM, 0)


def test_a_run_that_waits():
    seen = Bench([GOOD], wait_first=True, signals=[9])()
    assert seen["refilling"] == list(range(10))
    assert seen["layer_start"] == [11 + CHECKED]


def test_verilog(tmp_path):
    lint(RunControl(CONFIG, settle=SETTLE), "run_control", tmp_path)
