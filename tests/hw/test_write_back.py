"""Write-back: steps become write-backs of the right slices, or results, after exact times."""

import dataclasses

import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.config import CHOICES, Config
from tritforge.hw.program import row_layout
from tritforge.hw.timing import chain_latency, result_write_latency, write_back_latency
from tritforge.hw.write_back import WriteBack

CONFIG = Config(clusters=3, elements=3, sets=2)
#: Multiplier, offset and shift of the row: (accumulator * 3 + 4) >> 3.
ROW = {"multiplier": 3, "offset": 4, "shift": 3, "enable": 1, "cluster": 2, "word": 6, "lane": 1}


def run(config, raw, entries=None, row=None, fresh=None, **layer):
    """A step of row entry 9 whose sum is 40, of set 1; what comes out, by cycles after the drain's
    decision. ``entries`` are (address: value) of the activation tables, ``row`` more fields of the
    entry; ``fresh`` takes what write-backs say of fresh pixels."""
    block = WriteBack(config)
    backs, results, kinds = [], [], []
    entry = row_layout(config).const(ROW | (row or {})).as_value().value

    async def bench(ctx):
        ctx.set(block.row_write_address, 9)
        for chunk in range(config.memory_chunks("rows")):
            ctx.set(block.row_write_mask, 1 << chunk)
            ctx.set(block.row_write_data, entry >> 32 * chunk & 0xFFFFFFFF)
            await ctx.tick()
        ctx.set(block.row_write_mask, 0)
        for address, value in (entries or {}).items():
            ctx.set(block.table_write_address, address)
            ctx.set(block.table_write_data, value)
            ctx.set(block.table_write_enable, 1)
            await ctx.tick()
            ctx.set(block.table_write_enable, 0)
        ctx.set(block.layer, {"raw": raw, "low": 0, "high": 255, "base": 17} | layer)
        ctx.set(block.layer_start, 1)
        await ctx.tick()
        ctx.set(block.layer_start, 0)
        window = {"address": 100, "count_x": 1, "count_y": 1, "fresh_x": 1, "fresh_y": 1}
        for cycle in range(1, 40):
            first = {"valid": 1, "begin": 1, "source": 1, "window": window, "row_address": 9}
            ctx.set(block.step, first if cycle == 1 else {"window": window})
            ctx.set(block.sums[1][0], 40 if cycle == 1 + chain_latency(config) else 0)
            for number, back in enumerate(block.write_backs):
                if ctx.get(back.valid):
                    one = back["values"][0]
                    found = tuple(map(ctx.get, (back.window.address, one.lane, one.value)))
                    backs.append((cycle, number, *found))
                    kinds.append((ctx.get(back.signed), ctx.get(back.nothing)))
                    if fresh is not None:
                        fresh.append((ctx.get(back.window.fresh_y), ctx.get(back.window.fresh_x)))
            if ctx.get(block.result_valid):
                results.append((cycle, ctx.get(block.result_address), ctx.get(block.result)))
            await ctx.tick()

    simulate(block, bench)
    if kinds:
        backs[0] += kinds[0]
    return backs, results


@pytest.mark.parametrize("stages", CHOICES["register_stages"])
def test_activations(stages):
    config = dataclasses.replace(CONFIG, register_stages=stages)
    assert run(config, raw=0) == ([(write_back_latency(config), 2, 106, 1, 15, 0, 0)], [])


@pytest.mark.parametrize(
    ("entry", "table_signed", "nothing"), [(200, 0, 0), (200, 1, 0), (0, 0, 1), (0, 1, 0)]
)
@pytest.mark.parametrize("low", [0, -128])
@pytest.mark.parametrize("stages", CHOICES["register_stages"])
def test_activations_of_a_table(stages, low, entry, table_signed, nothing):
    """Code 15 is looked up; whether the activation is signed, the layer says apart."""
    config = dataclasses.replace(CONFIG, register_stages=stages, activation_tables=3)
    with_table = {"low": low, "high": 127, "look_up": 1, "table": 2, "table_signed": table_signed}
    time = write_back_latency(config)
    backs, results = run(config, raw=0, entries={512 + 15: entry}, **with_table)
    assert (backs, results) == ([(time, 2, 106, 1, entry, table_signed, nothing)], [])
    without = {"low": low, "high": 127, "table_signed": int(low >= 0)}
    backs, results = run(config, raw=0, entries={15: entry}, **without)
    assert (backs, results) == ([(time, 2, 106, 1, 15, int(low < 0), 0)], [])


@pytest.mark.parametrize("merge", [0, 1])
@pytest.mark.parametrize("stages", CHOICES["register_stages"])
def test_rows_that_are_merged_in_any_case(stages, merge):
    """Their pixel is not fresh for them; all else, times too, is as of others."""
    config = dataclasses.replace(CONFIG, register_stages=stages, row_merges=True)
    fresh = []
    found = run(config, raw=0, row={"merge": merge}, fresh=fresh)
    assert found == ([(write_back_latency(config), 2, 106, 1, 15, 0, 0)], [])
    ((rows, columns),) = fresh
    assert (rows and columns) == 1 - merge
    plain = dataclasses.replace(config, row_merges=False)
    assert plain.row_entry_width == config.row_entry_width  # the entry has a bit to spare
    assert run(plain, raw=0) == found


@pytest.mark.parametrize(
    ("sums", "stored_signed", "sum_signed", "bias", "value", "nothing"),
    [
        (0, 0, 0, 0, 15, 0),
        (1, 0, 0, 0, 15, 0),
        (1, 0, 0, -120, 0, 1),
        (1, 1, 1, -120, 0, 1),
        (1, 1, 0, -120, 0, 0),
        (1, 0, 1, -120, 0, 0),
        (1, 0, 0, -8 * 115, -100 & 0x1FF, 0),
        (1, 1, 1, -8 * 1000, -256 & 0x1FF, 0),
        (1, 1, 1, 8 * 1000, 255, 0),
        (1, 0, 1, 8 * 200, 215, 0),
    ],
)
def test_values_that_are_added(sums, stored_signed, sum_signed, bias, value, nothing):
    """9 bits, whatever the sign of the sum; a zero is dropped where the ranges are the same."""
    config = dataclasses.replace(CONFIG, write_back_sums=True)
    signs = {"add": sums, "stored_signed": stored_signed, "sum_signed": sum_signed}
    ends = {"low": -256, "high": 255} if sums else {}
    backs, results = run(config, raw=0, row={"offset": 4 + bias}, **ends, **signs)
    expected = (write_back_latency(config), 2, 106, 1, value, sum_signed, nothing)
    assert (backs, results) == ([expected], [])


@pytest.mark.parametrize(("entry", "table_signed"), [(200, 0), (200, 1), (5, 1)])
def test_entries_of_a_table_that_are_added(entry, table_signed):
    config = dataclasses.replace(CONFIG, write_back_sums=True, activation_tables=3)
    layer = {"add": 1, "sum_signed": 1, "look_up": 1, "table": 2, "table_signed": table_signed}
    backs, _ = run(config, raw=0, entries={512 + 15: entry}, **layer)
    value = entry | (entry >> 7 & table_signed) << 8
    assert backs == [(write_back_latency(config), 2, 106, 1, value, 1, 0)]


@pytest.mark.parametrize("stages", CHOICES["register_stages"])
def test_results(stages):
    config = dataclasses.replace(CONFIG, register_stages=stages)
    assert run(config, raw=1) == ([], [(result_write_latency(config), 17, 124)])


@pytest.mark.parametrize("fields", [{}, {"row_merges": True}, {"write_back_sums": True}])
def test_verilog(tmp_path, fields):
    lint(WriteBack(dataclasses.replace(CONFIG, **fields)), "write_back", tmp_path)
