"""Run record: from the start of a run to its answer, and what STATUS says meanwhile."""

import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.presets import PRESETS
from tritforge.hw.protocol import FINISHED
from tritforge.hw.run_record import RunRecord

CONFIGS = [Config(), PRESETS["icebreaker"]]


@pytest.mark.parametrize("config", CONFIGS, ids=["full", "few"])
def test_runs(config):
    record = RunRecord(config)
    late = 1 if config.few_stages else 2

    async def start(ctx, tag):
        ctx.set(record.runs.payload, {"tag": tag})
        ctx.set(record.runs.valid, 1)
        await ctx.tick()
        ctx.set(record.runs.valid, 0)

    async def bench(ctx):
        for tag, error in ((0, 0), (0xFF, 5), (7, 0)):
            await start(ctx, tag)
            assert ctx.get(record.word) == 0 and not ctx.get(record.unanswered)
            ctx.set(record.finished, 1)
            ctx.set(record.error, error)
            for cycle in range(late):
                assert not ctx.get(record.ends.valid)
                assert ctx.get(record.unanswered) == (cycle == late - 1)
                await ctx.tick()
                ctx.set(record.finished, 0)
                ctx.set(record.error, 0)
            for ready in (0, 0, 1):
                assert ctx.get(record.ends.valid) and ctx.get(record.unanswered)
                end = ctx.get(record.ends.payload)
                assert (end.error, end.tag) == (error, tag)
                assert ctx.get(record.word) == FINISHED | tag << 8 | error
                ctx.set(record.ends.ready, ready)
                await ctx.tick()
            ctx.set(record.ends.ready, 0)
            assert not ctx.get(record.ends.valid) and not ctx.get(record.unanswered)
            assert ctx.get(record.word) == FINISHED | tag << 8 | error

    simulate(record, bench)


@pytest.mark.parametrize("config", CONFIGS, ids=["full", "few"])
def test_verilog(config, tmp_path):
    lint(RunRecord(config), "run_record", tmp_path)
