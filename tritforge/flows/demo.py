"""The demonstration: the shipped digits network, from checkpoint to equal integers in RTL."""

import dataclasses
import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tritforge.common.files import new_folder, obstacle
from tritforge.common.json_types import dump
from tritforge.common.progress import Progress
from tritforge.flows.export import export
from tritforge.flows.inputs import read_inputs
from tritforge.flows.pictures import kernels_picture, utilization_picture
from tritforge.flows.simulate import simulate
from tritforge.flows.wall_clock import WallClock
from tritforge.hw.config import Config
from tritforge.hw.presets import load_config
from tritforge.model_export.formats.checkpoint import load_into
from tritforge.model_export.image.folder import Image
from tritforge.model_export.model_file import load_model
from tritforge.model_export.training.digits import digits_data
from tritforge.sim.accuracy import accuracy
from tritforge.sim.backend import create
from tritforge.sim.report import (
    ReportError,
    build_report,
    write_run,
)
from tritforge.sim.result import RunReport
from tritforge.sim.verify import CHECKED, verify

__all__ = ["run"]

FORMAT = "tritforge demo"
MARKER = "demo.json"
MODEL = "zoo:digits"
CHECKPOINT = "digits_ttq.pt"
#: Training images that calibrate.
CALIBRATION = 256
#: Images on which skipping is compared with the array that skips nothing.
BASELINE_IMAGES = 8
#: Everything that a demo folder holds.
CONTENTS = {
    MARKER,
    CHECKPOINT,
    "calibration.npy",
    "test_images.npy",
    "test_labels.npy",
    "image",
    "run",
    "kernels.png",
    "utilization.png",
    "dense.toml",
    "dense_image",
    "dense_run",
}


def run(
    output: Path,
    config: str | Config = "tiny",
    *,
    images: int = 360,
    checked: int = 16,
    baseline: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Export the digits network, run it in RTL, compare, and leave everything in ``output``.

    Parameters
    ----------
    output : path
        A former demo there is replaced, anything else is left alone.
    config : str or Config
    images : int
        Test images through the RTL, all logits compared; 1..360.
    checked : int
        Of these, how many have every integer of every layer compared.
    baseline : bool
        Also run the array that skips neither zero weights nor zero activations.

    Returns
    -------
    dict
        JSON values: ``equal``, ``differences`` (sentences), ``accuracy`` (0..1), ``report`` (see
        :func:`tritforge.sim.report.build_report`), ``baseline``, ``seconds`` by step. Also written
        to ``demo.json``.

    Raises
    ------
    ReportError, ConfigError, ExportError, SimulatorError
        One sentence each.
    """
    chosen = load_config(config) if isinstance(config, str) else config
    if sentence := obstacle(output, MARKER, FORMAT, CONTENTS):
        raise ReportError(sentence)
    with new_folder(output) as folder:
        result = _run(
            folder,
            output,
            config if isinstance(config, str) else config.name,
            chosen,
            images,
            min(checked, images),
            baseline,
            progress,
        )
        (folder / MARKER).write_text(dump(result), encoding="utf-8")
    return result


def _run(
    folder: Path,
    output: Path,
    config_name: str,
    config: Config,
    images: int,
    checked: int,
    baseline: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    clock = WallClock(progress)
    train_x, _, test_x, test_y = digits_data()
    test_x, test_y = test_x[:images], test_y[:images]
    calibration = train_x[:CALIBRATION]
    np.save(folder / "calibration.npy", calibration, allow_pickle=False)
    np.save(folder / "test_images.npy", test_x, allow_pickle=False)
    np.save(folder / "test_labels.npy", test_y, allow_pickle=False)
    with as_file(files("tritforge") / "data" / CHECKPOINT) as shipped:
        shutil.copyfile(shipped, folder / CHECKPOINT)

    with clock.step("export"):
        made = export(
            folder / CHECKPOINT, MODEL, calibration, config, folder / "image", progress=progress
        )
    image = made.image
    given = read_inputs(image, test_x)
    codes = given.codes
    with clock.step("float model"), torch.no_grad():
        plain = load_into(load_model(MODEL), str(folder / CHECKPOINT))
        float_class = plain(torch.from_numpy(test_x)).argmax(dim=1).numpy()
    with clock.step("golden model"):
        golden = create("golden", image).run(codes).output

    differences = []
    with clock.step("build the RTL simulator"):
        runner = create("rtl", image, progress)
    with clock.step("RTL"), runner:
        simulation = runner.run(codes, progress=progress)
    simulation.input = given.facts
    report = build_report(simulation, str(output / "image"), image.manifest.manifest_sha256)
    write_run(folder / "run", report, simulation)
    wrong = np.flatnonzero((simulation.output != golden).any(axis=(1, 2, 3)))
    if len(wrong):
        differences.append(
            f"logits of {len(wrong)} of {images} images differ, first image {wrong[0]}"
        )
    with clock.step("verify"):
        backends = tuple(name for name in CHECKED if name != "pysim")
        verification = verify(image, codes[:checked], backends=backends, progress=progress)
    differences += [
        str(one.difference) for one in verification.comparisons if one.difference is not None
    ]

    with clock.step("pictures"):
        kernels_picture(image.network, folder / "kernels.png")
        utilization_picture(report, folder / "utilization.png")
    without = None
    if baseline:
        with clock.step("baseline"):
            without = _baseline(folder, config, calibration, test_x, golden, report, progress)
        if not without["equal"]:
            differences.append("the array without skipping gives other logits")

    return {
        "format": FORMAT,
        "equal": not differences,
        "differences": differences,
        "configuration": config_name,
        "images": images,
        "accuracy": {
            "float": float((float_class == test_y).mean()),
            "golden": accuracy(golden, test_y),
            "rtl": simulation.accuracy(test_y),
        },
        "export": made.to_dict(),
        "report": report.to_json(),
        "verification": verification.to_json(),
        "baseline": without,
        "seconds": clock.summary(),
        "commands": _commands(output, config_name, checked, baseline),
    }


def _baseline(
    folder: Path,
    config: Config,
    calibration: Any,
    test_x: Any,
    golden: Any,
    report: RunReport,
    progress: Progress | None,
) -> dict[str, Any]:
    """The same network on the same array, every zero costing its cycle."""
    dense = dataclasses.replace(
        config, name="dense", skip_zero_weights=False, skip_zero_activations=False
    )
    lines = [
        f"{name} = {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in dense.to_dict().items()
        if name != "name"
    ]
    (folder / "dense.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    count = min(BASELINE_IMAGES, len(test_x))
    image: Image = export(
        folder / CHECKPOINT,
        MODEL,
        calibration,
        dense,
        folder / "dense_image",
        check=False,
        progress=progress,
    ).image
    simulation = simulate(
        image, test_x[:count], "rtl", output=folder / "dense_run", progress=progress
    )
    assert simulation.total_cycles is not None
    layers = []
    for ours, theirs in zip(report.layers, simulation.layers, strict=True):
        skipping = sum(ours.cycles_per_image[:count]) / count
        whole = sum(theirs.cycles_per_image) / count
        layers.append(
            {
                "name": ours.name,
                "cycles": skipping,
                "cycles_without_skipping": whole,
                "factor": whole / skipping,
            }
        )
    skipping = sum(report.cycles_per_image[:count]) / count
    whole = simulation.total_cycles / count
    return {
        "images": count,
        "equal": bool((simulation.output == golden[:count]).all()),
        "cycles_per_image": skipping,
        "cycles_per_image_without_skipping": whole,
        "factor": whole / skipping,
        "layers": layers,
    }


def _commands(output: Path, config: str, checked: int, baseline: bool) -> dict[str, str]:
    """What gives each number again."""
    data = f"{output}/{CHECKPOINT} --model {MODEL} --calibrate {output}/calibration.npy"
    commands = {
        "export": f"tritforge export {data} --config {config} -o {output}/image",
        "cycles, logits": f"tritforge simulate {output}/image --input {output}/test_images.npy "
        f"--backend rtl -o {output}/run",
        "every integer": f"tritforge verify {output}/image --input {output}/test_images.npy "
        f"--backend rtl",
        "energy and area": f"tritforge estimate {output}/image --input {output}/test_images.npy",
    }
    if baseline:
        commands["without skipping"] = (
            f"tritforge export {data} --config {output}/dense.toml -o {output}/dense_image && "
            f"tritforge simulate {output}/dense_image --input {output}/test_images.npy "
            f"-o {output}/dense_run"
        )
    return commands
