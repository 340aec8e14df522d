"""The command line: what it writes, what it prints, and how it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import tritforge.commands
from tests.tritforge.support import PYTHON, call, refused
from tritforge.cli import cli
from tritforge.common.errors import TritforgeError
from tritforge.hw.presets import PRESETS

#: What takes long to import.
HEAVY = {"torch", "amaranth", "numpy"}

# ----- help


@pytest.mark.compiles
def test_help_is_quick_and_lists_commands(capsys):
    code, out, err = call(capsys, "--help")
    assert code == 0 and err == ""
    for command in ("bench", "compare-logs", "demo", "export", "generate", "simulate", "verify"):
        assert command in out


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["export", "x"]])
def test_nothing_heavy_is_imported_before_it_is_needed(arguments):
    program = (
        "import sys; from tritforge.cli import run; "
        f"run({arguments}); sys.exit(len({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert done.returncode == 0


def test_a_command_imports_no_other():
    program = (
        "import sys; from tritforge.cli import run; run(['generate', '--help']); "
        "print(sorted(name for name in sys.modules if name.startswith('tritforge.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    last = done.stdout.decode().splitlines()[-1]
    assert last == "['tritforge.commands.generate', 'tritforge.commands.options']"


@pytest.mark.compiles
def test_help_lists_presets_and_zoo(capsys):
    _, out, _ = call(capsys, "generate", "--help")
    assert all(name in out for name in PRESETS)
    _, out, _ = call(capsys, "export", "--help")
    assert "zoo:digits" in out and "zoo:mnist" in out
    _, out, _ = call(capsys, "bench", "--help")
    assert "alexnet" in out


def commands(group):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command.name == name
        yield from commands(command) if isinstance(command, click.Group) else [command]


def test_every_command_is_listed():
    files = {path.stem for path in Path(tritforge.commands.__path__[0]).glob("*.py")}
    listed = {name.replace("-", "_") for name in cli.list_commands(click.Context(cli))}
    assert listed == files - {"__init__", "options"}


@pytest.mark.parametrize("command", list(commands(cli)), ids=lambda command: command.name)
def test_every_option_is_explained(command):
    assert command.help
    for option in command.params:
        if option.param_type_name == "option":
            assert option.help, f"{command.name} {option.name}"


def test_no_command_shows_help(capsys):
    code, _, err = call(capsys)
    assert code == 2 and "Usage:" in err


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "No such command"),
        (["export"], "Missing argument"),
        (
            ["export", "x", "--model", "zoo:digits", "--config", "tiny", "-o", "i"],
            "Missing option '--calibrate'",
        ),
        (["export", "--drawn", "-1"], "-1"),
        (
            [
                "export",
                "--drawn",
                "0",
                "x",
                "--model",
                "zoo:alexnet_dorefa",
                "--config",
                "tiny",
                "-o",
                "i",
            ],
            "neither CHECKPOINT nor --threshold",
        ),
        (["bench", "alexnet", "--topology", "lenet"], "lenet"),
        (["simulate", "image"], "Missing option '--input'"),
        (["simulate", "image", "--input", "x", "--backend", "gpu", "-o", "r"], "gpu"),
        (["export", "--digits", "99", "x"], "99"),
    ],
)
def test_wrong_usage_is_one_sentence(capsys, arguments, words):
    assert words in refused(capsys, *arguments, code=2)


# ----- errors and streams


def test_an_error_of_a_user_is_a_sentence_and_a_fault_of_ours_is_not(capsys, monkeypatch):
    class OfAUserError(TritforgeError):
        pass

    def failing(error):
        def get_help(context):
            raise error

        return get_help

    monkeypatch.setattr(cli, "get_help", failing(OfAUserError("it is\n  \x1b[2Jbroken")))
    assert refused(capsys, "--help") == "tritforge: it is ?[2Jbroken"
    monkeypatch.setattr(cli, "get_help", failing(ValueError("ours")))
    with pytest.raises(ValueError, match="ours"):
        call(capsys, "--help")


@pytest.mark.compiles
def test_output_that_nobody_reads_is_no_error(exported, tmp_path):
    command = " ".join(
        [
            *PYTHON,
            "simulate",
            str(exported / "image"),
            "--input",
            str(exported / "x.npy"),
            "--backend",
            "golden",
            "-o",
            str(tmp_path / "run"),
            "--json",
        ]
    )
    done = subprocess.run(
        ["bash", "-c", f"{command} | true"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


@pytest.mark.long
@pytest.mark.parametrize(("closed", "printed"), [("2>&-", True), (">&-", False)])
def test_closed_streams(tmp_path, closed, printed):
    command = f"{' '.join(PYTHON)} generate --config tiny -o {tmp_path / 'out'} --json {closed}"
    done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert (json.loads(done.stdout)["warnings"] == []) if printed else done.stdout == ""
    assert (tmp_path / "out" / "accelerator.v").exists()
