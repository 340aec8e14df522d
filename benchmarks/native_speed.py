"""Speed of the native RTL simulation and how long it takes to get ready.

    python benchmarks/native_speed.py --config ulx3s_85f [--images 100] [--fresh]

Runs the digits network that ships with tritforge, one thread. ``--fresh`` compiles into an empty
cache first and reports the time from nothing to a ready simulator, then from the cache.
Prints JSON; cycles/s counts all simulated clock cycles, transfers included.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import click

from tritforge.hw.presets import load_config
from tritforge.model_export.formats.checkpoint import load_into
from tritforge.model_export.frontend.trace import trace
from tritforge.model_export.memory.emit import emit
from tritforge.model_export.memory.placement import place
from tritforge.model_export.model_file import load_model
from tritforge.model_export.passes.calibrate import calibrate
from tritforge.model_export.passes.quantize import quantize
from tritforge.model_export.training.digits import digits_data
from tritforge.sim.device import Device
from tritforge.sim.golden import GoldenModel, quantize_input
from tritforge.sim.native import NativeLink

CHECKPOINT = Path(__file__).resolve().parents[1] / "tritforge" / "data" / "digits_ttq.pt"


@click.command()
@click.option("--config", "name", default="ulx3s_85f", show_default=True)
@click.option("--images", default=100, show_default=True, help="Images per measured run.")
@click.option("--runs", default=5, show_default=True, help="Measured runs; the median is quoted.")
@click.option("--fresh", is_flag=True, help="Measure the compilation too, in an empty cache.")
def main(name: str, images: int, runs: int, fresh: bool) -> None:
    config = load_config(name)
    figures: dict[str, object] = {
        "config": config.name,
        "processing_elements": config.clusters * config.elements,
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    with tempfile.TemporaryDirectory() as folder:
        if fresh:
            os.environ["TRITFORGE_CACHE"] = folder
            for key in ("ready_from_nothing_s", "ready_from_cache_s"):
                begin = time.perf_counter()
                NativeLink(config).close()
                figures[key] = round(time.perf_counter() - begin, 2)
        figures |= measure(config, images, runs)
    click.echo(json.dumps(figures, indent=2))


def measure(config, images, runs):
    train, _, test, _ = digits_data()
    model = load_into(load_model("zoo:digits"), CHECKPOINT)
    network = quantize(calibrate(trace(model, (1, 8, 8)), train[:200]), config)
    memory = emit(network, place(network, config), config)
    codes = quantize_input(test[:images], network.tensors[network.input])
    golden = GoldenModel(network).run(codes)
    speeds = []
    with NativeLink(config) as link:
        device = Device(link)
        device.load(memory)
        for _ in range(runs):
            begin, cycles = time.perf_counter(), link.cycles
            for image, expected in zip(codes, golden, strict=True):
                device.write_tensor(memory, network.input, image)
                device.run(memory.layers[0].address, len(memory.layers))
                assert (device.read_results(memory) == expected).all()
            speeds.append((link.cycles - cycles) / (time.perf_counter() - begin))
            per_image = (link.cycles - cycles) / len(codes)
    return {
        "images": len(codes),
        "clock_cycles_per_image": round(per_image),
        "cycles_per_s_median": round(statistics.median(speeds)),
        "cycles_per_s_min": round(min(speeds)),
        "cycles_per_s_max": round(max(speeds)),
    }


if __name__ == "__main__":
    main()
