"""The synthesized netlist of the iCEBreaker's own configuration runs the network that ships."""

import json
from importlib.resources import files

import numpy as np
import pytest

from tritforge.flows import demo
from tritforge.flows.export import export
from tritforge.flows.inputs import read_inputs
from tritforge.fpga.bitstream.plan import make_plan
from tritforge.fpga.link.serial_link import SerialLink
from tritforge.fpga.platform.board import board
from tritforge.fpga.platform.board_top import TOP
from tritforge.fpga.run.backend import BoardBackend
from tritforge.fpga.run.netlist import netlist_verilog
from tritforge.fpga.run.virtual import VirtualBoard
from tritforge.fpga.toolchain.tools import find, run
from tritforge.hw.presets import PRESETS
from tritforge.model_export.training.digits import digits_data
from tritforge.sim.backend import create

pytestmark = pytest.mark.compiles


@pytest.mark.slow
def test_icebreaker(tmp_path):
    """All logits of 10 images equal the golden model's; block RAM, SPRAM and multipliers are the
    chip's cells."""
    images, _, tests, _ = digits_data()
    image = export(
        files("tritforge") / "data" / demo.CHECKPOINT,
        demo.MODEL,
        images[: demo.CALIBRATION],
        "icebreaker",
        tmp_path / "image",
        digits=6,
    ).image
    plan = make_plan(board("icebreaker"), PRESETS["icebreaker"], image)
    for name, text in plan.files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    run(find("yosys"), plan.commands[0][2], tmp_path, "yosys.txt")
    cells = json.loads((tmp_path / f"{TOP}.json").read_bytes())["modules"][TOP]["cells"].values()
    kinds = {cell["type"] for cell in cells}
    assert {"SB_RAM40_4K", "SB_RAM40_4KNR", "SB_SPRAM256KA", "SB_MAC16"} <= kinds
    text = netlist_verilog(tmp_path / f"{TOP}.json", "ice40")
    codes = read_inputs(image, np.asarray(tests[:10])).codes
    with (
        VirtualBoard([text], TOP, plan.clocking.divisor) as simulated,
        BoardBackend(
            image,
            SerialLink.open(
                image.config, simulated.port, plan.clocking.baud, clock=simulated.seconds
            ),
        ) as backend,
    ):
        found = backend.run(codes)
        assert np.array_equal(found.output, backend.golden.run(codes))
    # This board counts cycles only; they are those of the cycle model.
    assert found.utilization is None and found.layers[0].cycles is None
    assert found.cycles_per_image == create("cycle", image).run(codes).cycles_per_image
