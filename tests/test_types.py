"""The type check sees every part of the package, and wrong uses of Amaranth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Part of the package: code with one error, and what mypy calls it.
PLANTED = {
    "common": (
        "from tritforge.common.version import tritforge_version\nn: int = tritforge_version()\n",
        "assignment",
    ),
    "hw": ("from amaranth.hdl import Signal\nSignal(8).bit_selected(0, 4)\n", "attr-defined"),
    "model_export": (
        "from tritforge.hw.config import Config\nConfig(rows='4')\n",
        "arg-type",
    ),
    "sim": (
        "from tritforge.hw.config import Config\nfrom tritforge.sim.native import NativeLink\n"
        "NativeLink(Config()).cycle\n",
        "attr-defined",
    ),
    "fpga": (
        "from amaranth.hdl import Signal, unsigned\nunsigned(Signal(4))\n",
        "arg-type",
    ),
    "tritforge": ("def f(x):\n    return x\n", "no-untyped-def"),
}


@pytest.mark.slow
def test_a_planted_error_is_found_in_every_part(tmp_path):
    package = tmp_path / "build" / "types" / "tritforge"
    for part in PLANTED:
        place = package if part == "tritforge" else package / part
        place.mkdir(parents=True, exist_ok=True)
        for entry in (ROOT / part).iterdir():
            (place / entry.name).symlink_to(entry)
        (place / "planted.py").write_text(PLANTED[part][0], encoding="utf-8")
    for name in ("pyproject.toml", "stubs"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(\S+?):\d+: error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    expected = {
        (f"build/types/tritforge/{'' if part == 'tritforge' else f'{part}/'}planted.py", code)
        for part, (_, code) in PLANTED.items()
    }
    assert set(found) == expected, done.stdout + done.stderr
