"""The configuration that the tests of this folder map."""

from tritforge.hw.config import Config

#: As small as it can be, without the unpacker, so that mapping it takes seconds.
MINI = Config(
    name="mini",
    clusters=2,
    elements=2,
    rows=2,
    scan_width=2,
    queue_depth=2,
    coefficient_width=6,
    accumulator_width=16,
    multiplier_width=8,
    trit_depth=256,
    activation_depth=256,
    program_depth=256,
    row_depth=64,
    result_depth=64,
    layer_count=4,
    packet_words=34,
    response_places=1,
    unpack_trits=False,
)
