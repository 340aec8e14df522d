"""Options and arguments that several commands have."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tritforge.hw.presets import PRESETS

if TYPE_CHECKING:
    from tritforge.cost.library import Library
    from tritforge.cost.technology import Technology

__all__ = [
    "CONFIG_HELP",
    "FiniteRange",
    "clock_option",
    "codes_option",
    "config_check",
    "cost_figures",
    "cost_options",
    "image_argument",
    "input_option",
    "is_given",
    "json_option",
    "labels_option",
]

CONFIG_HELP = f"Preset ({', '.join(PRESETS)}) or a .toml file."


class FiniteRange(click.FloatRange):
    """A range of numbers that are no NaN and not infinite."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def is_given(name: str) -> bool:
    """Whether the user gave this parameter of the running command, and it is not its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON instead of tables, and nothing else, on standard output.",
)
input_option = click.option(
    "--input",
    "inputs",
    required=True,
    metavar="X.npy",
    type=click.Path(path_type=Path),
    help="Images, (N, C, H, W), or one, (C, H, W): real numbers as the network was trained on, "
    "whatever the type of the array.",
)
labels_option = click.option(
    "--labels",
    metavar="Y.npy",
    type=click.Path(path_type=Path),
    help="Integers (N,), each image's class: accuracy is shown.",
)
codes_option = click.option(
    "--codes",
    is_flag=True,
    help="The input holds activation codes instead: integers that are taken as they are.",
)
config_check = click.option(
    "--config",
    metavar="NAME|FILE.toml",
    help="Refuse the image unless it was compiled for this configuration.",
)
image_argument = click.argument("image", type=click.Path(path_type=Path))
clock_option = click.option(
    "--clock",
    type=FiniteRange(min=1e-6),  # from 1 Hz on
    default=50.0,
    show_default=True,
    metavar="MHZ",
    help="Clock at which the table shows cycles as time; nothing else depends on it.",
)


def cost_options(command: Any) -> Any:
    """Options of all commands that estimate: technology, clock, a user's cells and memories."""
    for option in reversed(
        (
            click.option(
                "--technology",
                "technology_name",
                metavar="NAME|FILE.toml",
                default="45nm",
                show_default=True,
                help="Figures for energy and area: one that ships (an unknown name lists "
                "them) or a file, see docs/estimate.md.",
            ),
            click.option(
                "--clock",
                type=FiniteRange(min=1e-3, max=1e6),
                metavar="MHZ",
                help="Clock; leakage and power depend on it. [default: the technology's]",
            ),
            click.option(
                "--liberty",
                metavar="FILE.lib",
                type=click.Path(path_type=Path),
                help="Cells to map the design to instead of the technology's: area, and "
                "by it wires and leakage.",
            ),
            click.option(
                "--memories",
                metavar="FILE.toml",
                type=click.Path(path_type=Path),
                help="Memory macros instead of the technology's: a file with its "
                "[[memories]] alone.",
            ),
        )
    ):
        command = option(command)
    return command


def cost_figures(
    technology_name: str, liberty: Path | None, memories: Path | None
) -> tuple["Technology", "Library | None"]:
    """The technology, with a user's macros if there are any, and the user's library or None.

    Raises
    ------
    CostError
        One of the files is not as it should be.
    """
    from tritforge.cost.library import user_library
    from tritforge.cost.technology_file import load_macros, load_technology

    technology = load_technology(technology_name)
    if memories is not None:
        technology = dataclasses.replace(
            technology,
            macros=load_macros(memories),
            title=f"{technology.title}; memories of {memories}",
        )
    return technology, None if liberty is None else user_library(liberty)
