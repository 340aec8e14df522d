"""The command ``tritforge``.

A user's mistake gives one sentence on standard error and an exit code other than 0; tables go to
standard output, progress to standard error, and only where that is a terminal.
"""

import contextlib
import fcntl
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence

import click

from tritforge.common.errors import TritforgeError
from tritforge.common.version import tritforge_version
from tritforge.console import sentence, warnings_shown

__all__ = ["main"]

#: Exit codes: something differs or is refused; wrong usage (as click has it); interrupted.
FAILED, USAGE, INTERRUPTED = 1, 2, 130

#: The module of every command, which is imported when the command or the list of all is wanted.
_COMMANDS = {
    "bench": "tritforge.commands.bench",
    "build": "tritforge.commands.build",
    "compare-logs": "tritforge.commands.compare_logs",
    "demo": "tritforge.commands.demo",
    "estimate": "tritforge.commands.estimate",
    "export": "tritforge.commands.export",
    "fit": "tritforge.commands.fit",
    "generate": "tritforge.commands.generate",
    "report": "tritforge.commands.report",
    "run": "tritforge.commands.run",
    "simulate": "tritforge.commands.simulate",
    "verify": "tritforge.commands.verify",
}


class _Commands(click.Group):
    """Imports a command's module when it is called. These modules import what computes only
    inside their functions: a list of commands with their help waits for none of it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(_COMMANDS[cmd_name]).command
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Errors are one sentence on standard error. Exit codes: 0 all is well, 1 something "
    "is refused or differs, 2 wrong usage, 130 interrupted.",
)
@click.version_option(tritforge_version())
def cli() -> None:
    """Run trained ternary networks on generated hardware, bit for bit.

    The usual order: export a trained network to an image for one hardware configuration; simulate
    it; verify that all backends agree; generate the Verilog of that configuration. `tritforge
    demo` does all of it with a network that ships with this program.
    """


# ----- errors


def _fail(message: str, code: int) -> int:
    print(f"tritforge: {sentence(message)}", file=sys.stderr)
    return code


def _terminated(number: int, frame: object) -> None:
    """SIGTERM and SIGHUP clean up as an interrupt does."""
    raise KeyboardInterrupt


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Raises only what is a fault of this program.

    The one place where a :class:`~tritforge.common.errors.TritforgeError` becomes a sentence.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with (
            warnings_shown() as told,
            cli.make_context("tritforge", given, obj=told) as context,
        ):
            cli.invoke(context)
        if sys.stdout is not None:  # it is closed
            sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        hint = f" (try {error.ctx.command_path} --help)" if error.ctx is not None else ""
        return _fail(error.format_message().rstrip(".") + hint, USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; nothing was left behind", INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has enough; Python must not complain at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except TritforgeError as error:
        return _fail(str(error), FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", FAILED)
    except MemoryError:
        return _fail("out of memory; fewer images at a time may do", FAILED)
    return 0


def _keep_standard_output() -> None:
    """Keep standard output for what this program itself prints: whatever else writes to its file
    descriptor, such as C code that a model file calls, writes to standard error."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):  # it is closed
        return
    own = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)  # not 2, which may be closed
    try:
        os.dup2(2, 1)
    except OSError:  # standard error is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = os.fdopen(own, "w", encoding=stream.encoding, errors="replace")


def main() -> None:
    """Entry point of the command ``tritforge``."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # told to end, or the terminal was closed
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _terminated)
    _keep_standard_output()
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")
    code = run()
    if sys.stdout is not None and sys.stderr is not None:
        with contextlib.suppress(OSError):  # whoever read it has enough
            sys.stdout.close()
        sys.stdout = sys.stderr  # for what a model file prints when the program ends
    sys.exit(code)
