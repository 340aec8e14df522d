"""Run record: how the last run ended, for its answer and for STATUS."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tritforge.hw.config import Config
from tritforge.hw.payloads import pulse, run_command
from tritforge.hw.protocol import ERROR_WIDTH, FINISHED
from tritforge.hw.widths import PORT_WIDTH

__all__ = ["RunRecord", "run_end"]


def run_end() -> data.StructLayout:
    """How a run ended."""
    return data.StructLayout({"error": unsigned(ERROR_WIDTH), "tag": unsigned(8)})


class RunRecord(wiring.Component):
    """Keeps a run's end until it is answered, and what STATUS says of it until the next run.

    Timing: an end of cycle t shows on ``ends`` and in ``word`` from t+2 on, from t+1 on where
    stages are few.

    Cost: 14 flip-flops; 5 more unless stages are few.

    Parameters
    ----------
    config : Config

    Members
    -------
    runs : In(pulse of run_command)
        Runs that start.
    finished : In(1), error : In(ERROR_WIDTH)
        A run ends.
    ends : Out(stream of run_end)
        The end that was not yet answered.
    unanswered : Out(1)
        There is one, or there will be in the next cycle: no other run may start.
    word : Out(32)
        STATUS's ``finished``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "runs": In(pulse(run_command(config))),
                "finished": In(1),
                "error": In(ERROR_WIDTH),
                "ends": Out(stream.Signature(run_end())),
                "unanswered": Out(1),
                "word": Out(PORT_WIDTH),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        finished, error = Signal(), Signal(ERROR_WIDTH)
        # The end of a run comes from far away.
        arrive = m.d.comb if self.config.few_stages else m.d.sync
        arrive += [finished.eq(self.finished), error.eq(self.error)]
        end = self.ends.payload
        ended = Signal()  # a run has ended, and none started since
        m.d.comb += [
            self.unanswered.eq(finished | self.ends.valid),
            self.word.eq(Mux(ended, end.error | end.tag << 8 | FINISHED, 0)),
        ]
        with m.If(self.runs.valid):
            m.d.sync += end.tag.eq(self.runs.payload.tag)
        with m.If(finished):
            m.d.sync += [self.ends.valid.eq(1), ended.eq(1), end.error.eq(error)]
        with m.Else():
            with m.If(self.ends.ready):
                m.d.sync += self.ends.valid.eq(0)
            with m.If(self.runs.valid):
                m.d.sync += ended.eq(0)
        return m
