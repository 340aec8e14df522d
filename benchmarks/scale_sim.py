"""AlexNet's ternary layers on SCALE-Sim 3.0.0 and on tritforge, one after the other on one machine.

    python benchmarks/scale_sim.py [--layers conv3,conv4] [--rtl] [--out result.json]

SCALE-Sim is installed into an environment of its own (``--environment``). It simulates a dense
32 x 32 array, output stationary, one group of a grouped layer; tritforge runs whole layers, all
groups, on preset ``alexnet`` (512 adders), with weights drawn at published densities and the
default photograph. Compared are the wall times of SCALE-Sim's ``run_scale`` and of the cycle model
in process (compiled, image and golden activations loaded), with ``--rtl`` also of the compiled
RTL with memories loaded. The cycles are those of different machines and say nothing about speed.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from alexnet_memory import prepare

from tritforge.hw.presets import PRESETS
from tritforge.sim.cycle.model import CycleModel
from tritforge.sim.device import Device
from tritforge.sim.native import NativeLink

#: Layer: padded input height, width, kernel height, width, channels and filters of one group,
#: groups. The topology of the paper's author; the stride is 1.
LAYERS = {
    "conv1": (58, 58, 5, 5, 48, 128, 2),
    "conv2": (29, 29, 3, 3, 256, 384, 1),
    "conv3": (16, 16, 3, 3, 192, 192, 2),
    "conv4": (16, 16, 3, 3, 192, 128, 2),
    "fc0": (1, 1, 1, 1, 9216, 4096, 1),
    "fc1": (1, 1, 1, 1, 4096, 4096, 1),
}
REQUIREMENTS = ("scalesim==3.0.0", "numpy<2.4")
_SETTINGS = {
    "general": {"run_name": "layer"},
    "architecture_presets": {
        "ArrayHeight": 32,
        "ArrayWidth": 32,
        "IfmapSramSzkB": 512,
        "FilterSramSzkB": 512,
        "OfmapSramSzkB": 256,
        "IfmapOffset": 0,
        "FilterOffset": 10_000_000,
        "OfmapOffset": 20_000_000,
        "Bandwidth": 10,
        "Dataflow": "os",
        "MemoryBanks": 1,
        "ReadRequestBuffer": 32,
        "WriteRequestBuffer": 32,
    },
    "layout": {
        "IfmapCustomLayout": False,
        "IfmapSRAMBankBandwidth": 10,
        "IfmapSRAMBankNum": 10,
        "IfmapSRAMBankPort": 2,
        "FilterCustomLayout": False,
        "FilterSRAMBankBandwidth": 10,
        "FilterSRAMBankNum": 10,
        "FilterSRAMBankPort": 2,
    },
    "sparsity": {
        "SparsitySupport": "false",
        "SparseRep": "ellpack_block",
        "OptimizedMapping": "false",
        "BlockSize": 8,
        "RandomNumberGeneratorSeed": 40,
    },
    "run_presets": {"InterfaceBandwidth": "CALC", "UseRamulatorTrace": False},
}
#: What runs in SCALE-Sim's environment.
_RUNNER = """
import json, sys, time
from scalesim.scale_sim import scalesim
folder = sys.argv[1]
simulator = scalesim(save_disk_space=True, verbose=False, config=folder + "/layer.cfg",
                     topology=folder + "/topology.csv", layout=folder + "/layout.csv",
                     input_type_gemm=False)
begin = time.perf_counter()
simulator.run_scale(top_path=folder)
seconds = time.perf_counter() - begin
row = open(folder + "/layer/COMPUTE_REPORT.csv").read().splitlines()[1].split(",")
print(json.dumps({"seconds": seconds, "cycles": int(float(row[2]))}))
"""


def environment(folder: Path) -> Path:
    """The interpreter of an environment with SCALE-Sim, made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {' '.join(REQUIREMENTS)} into {folder}", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
    return python


def scale_sim(python: Path, name: str) -> dict[str, float]:
    """Seconds and cycles of one group of a layer."""
    height, width, kernel_y, kernel_x, channels, filters, _ = LAYERS[name]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "layer.cfg").write_text(
            "\n".join(
                f"[{section}]\n" + "\n".join(f"{key}: {value}" for key, value in values.items())
                for section, values in _SETTINGS.items()
            )
            + "\n"
        )
        head = [
            "Layer",
            "IFMAP Height",
            "IFMAP Width",
            "Filter Height",
            "Filter Width",
            "Channels",
            "Num Filter",
            "Strides",
        ]
        row = [name, height, width, kernel_y, kernel_x, channels, filters, 1]
        (root / "topology.csv").write_text(
            ", ".join(head) + ",\n" + ",".join(map(str, row)) + ",\n"
        )
        # One line per layer: six factors of 1, then fourteen orders.
        (root / "layout.csv").write_text(
            ",".join(["Layer name"] + [f"field {n}" for n in range(20)])
            + ",\n"
            + ",".join([name] + ["1"] * 6 + ["0"] * 14)
            + ",\n"
        )
        (root / "run.py").write_text(_RUNNER)
        done = subprocess.run(
            [python, root / "run.py", folder], capture_output=True, text=True, check=True
        )
        values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return values


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", default=",".join(LAYERS), help="comma-separated")
    parser.add_argument("--rtl", action="store_true", help="also run the RTL")
    parser.add_argument("--environment", type=Path, default=Path("build/scale-sim"))
    parser.add_argument("--out", type=Path, help="JSON with all figures")
    arguments = parser.parse_args()
    names = arguments.layers.split(",")
    if unknown := sorted(set(names) - set(LAYERS)):
        sys.exit(f"there is no layer {', '.join(unknown)}; there are {', '.join(LAYERS)}")
    python = environment(arguments.environment)

    print("preparing AlexNet (drawn weights)", flush=True)
    config = PRESETS["alexnet"]
    prepared = prepare(config)
    network, memory, tensors = prepared.network, prepared.memory(config), prepared.tensors
    model = CycleModel(network, memory)
    model.run(tensors, ["fc1"], whole=False)
    device = None
    if arguments.rtl:
        device = Device(NativeLink(config))
        device.load(memory, back_door=True)

    rows = []
    for name in names:
        theirs = scale_sim(python, name)
        begin = time.perf_counter()
        counters = model.run(tensors, [name], whole=False)[0]
        row = {
            "layer": name,
            "scale_sim_s": theirs["seconds"],
            "scale_sim_cycles": theirs["cycles"],
            "cycle_model_s": time.perf_counter() - begin,
            "cycles": counters["cycles"],
        }
        if device is not None:
            layer = network.layer(name)
            for source in sorted({group.source for group in layer.groups}):
                device.write_tensor(memory, source, tensors[source])
            begin = time.perf_counter()
            got = device.run(memory.layer(name).address, 1)[0]
            row["rtl_s"] = time.perf_counter() - begin
            row["rtl_equals_model"] = got == counters
        rows.append(row)
        print(
            " ".join(
                f"{key}={value:.3f}" if isinstance(value, float) else f"{key}={value}"
                for key, value in row.items()
            ),
            flush=True,
        )
    sums = {
        key: sum(float(row[key]) for row in rows)
        for key in ("scale_sim_s", "cycle_model_s", *(("rtl_s",) if device else ()))
    }
    for key in list(sums)[1:]:
        print(f"SCALE-Sim took {sums['scale_sim_s'] / sums[key]:.0f} times the time of {key[:-2]}")
    if arguments.out:
        arguments.out.write_text(
            json.dumps(
                {
                    "rows": rows,
                    "sums": sums,
                    "configuration": config.to_dict(),
                    "network": dataclasses.asdict(prepared.provenance),
                },
                indent=2,
                default=str,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
