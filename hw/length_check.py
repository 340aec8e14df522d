"""Length check: whether a packet has as many words as it states."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import command_word
from tritforge.hw.protocol import HEADER_WORDS

__all__ = ["LengthCheck"]


class LengthCheck(wiring.Component):
    """Counts the words of a packet, and compares them with what its second word states.

    Timing: ``excess`` and ``bad`` are of the word at hand, without a register between. What they
    depend on is compared a cycle ahead.

    Cost: two counters of as many bits as the longest packet's length has, five more flip-flops.

    Parameters
    ----------
    config : Config

    Members
    -------
    word : In(command_word)
        The word at hand.
    accept : In(1)
        It is taken.
    store : In(1)
        It is taken and is a word of the packet, not beyond the longest.
    excess : Out(1)
        With this word the packet is longer than ``packet_words``.
    bad : Out(1)
        If the packet ended with this word, its length would be wrong.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "word": In(command_word()),
                "accept": In(1),
                "store": In(1),
                "excess": Out(1),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        longest = self.config.packet_words + HEADER_WORDS
        given = self.word
        left = Signal(range(longest))  # words to come, after what the packet states
        vast = Signal()  # more than there can be
        index = Signal(range(longest + 2))  # words so far; stops when there are too many
        most, beyond = Signal(), Signal()  # as many as there can be, more
        # Whether the words are as many as stated, without the word at hand or with it.
        exact, exact_with = Signal(), Signal()
        differs = Signal()
        m.d.comb += self.excess.eq(beyond | (most & ~given.empty))
        with m.If(index == 1):
            m.d.comb += differs.eq(given.empty | given.data.any())
        with m.Else():
            m.d.comb += differs.eq(vast | ~Mux(given.empty, exact, exact_with))
        m.d.comb += self.bad.eq(self.excess | (index == 0) | differs)
        with m.If(self.accept & ~given.empty & ~beyond):
            m.d.sync += [
                index.eq(index + 1),
                most.eq(index == longest - 1),
                beyond.eq(most),
                left.eq(left - 1),
                exact.eq(exact_with),
                exact_with.eq(left == 2),
            ]
        with m.If(self.store & (index == 1)):
            m.d.sync += [
                left.eq(given.data),
                vast.eq(given.data[len(left) :].any()),
                exact.eq(given.data == 0),
                exact_with.eq(given.data == 1),
            ]
        with m.If(self.accept & given.last):
            m.d.sync += [index.eq(0), most.eq(0), beyond.eq(0)]
        return m
