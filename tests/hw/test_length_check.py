"""Length check: packets of all lengths against what they state."""

import numpy as np
import pytest

from tests.hw.benches import lint, simulate
from tritforge.hw.config import Config
from tritforge.hw.length_check import LengthCheck

CONFIG = Config(packet_words=34)
MOST = CONFIG.packet_words + 2


def packets(rng):
    """(words, whether a mark without a word ends them)."""
    for length in (*range(1, MOST + 4), 60):
        for stated in (0, 1, length - 3, length - 2, length - 1, 34, 1 << 16, 1 << 31 | length - 2):
            words = [int(word) for word in rng.integers(0, 1 << 32, length)]
            if length > 1:
                words[1] = stated % (1 << 32)
            yield words, bool(rng.integers(2))


def test_every_length():
    """Also of a packet that follows one that was wrong, with pauses between words."""
    check = LengthCheck(CONFIG)
    rng = np.random.default_rng(0)

    async def bench(ctx):
        for words, marked in packets(rng):
            stream = [
                {"data": word, "last": int(not marked and index == len(words) - 1)}
                for index, word in enumerate(words)
            ] + [{"data": 0, "last": 1, "empty": 1}] * marked
            for index, given in enumerate(stream):
                while rng.random() < 0.2:
                    await ctx.tick()
                count = min(index + 1, len(words))
                ctx.set(check.word, given)
                assert ctx.get(check.excess) == (count > MOST)
                if given["last"]:
                    sound = 2 <= count <= MOST and words[1] == count - 2
                    assert ctx.get(check.bad) == (not sound), (words[:2], count, marked)
                ctx.set(check.accept, 1)
                ctx.set(check.store, count <= MOST and not given.get("empty"))
                await ctx.tick()
                ctx.set(check.accept, 0)
                ctx.set(check.store, 0)

    simulate(check, bench)


@pytest.mark.parametrize("words", [34, 4096])
def test_verilog(words, tmp_path):
    lint(LengthCheck(Config(packet_words=words)), "length_check", tmp_path)
