"""Imports go down only, and in no circle, between folders and between files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: From the ground up: a folder imports what stands before it, and itself.
FLOORS = ("common", "hw", "model_export", "sim", "fpga", "tritforge")


def module_name(path: Path, root: Path = ROOT) -> str:
    """The dotted name under which a file installs."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[0] != "tritforge":
        parts.insert(0, "tritforge")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(root: Path = ROOT) -> dict[str, Path]:
    """Every source file of the package by its module's name."""
    return {
        module_name(path, root): path
        for floor in FLOORS
        for path in sorted((root / floor).rglob("*.py"))
    }


def imports(path: Path, module: str, known: set[str]) -> set[str]:
    """Modules of ``known`` that a file imports, at its top or inside functions, relative or
    not, and those that it names in strings to import later."""
    found = set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # the lazy table of the top package is a promise to users, not a need of its own
            names = [node.value] if module != "tritforge" and "." in node.value else []
        else:
            continue
        found |= {name for name in names if name in known and name != module}
    return found


def graph(root: Path = ROOT) -> dict[str, set[str]]:
    paths = sources(root)
    return {module: imports(path, module, set(paths)) for module, path in paths.items()}


def floor(module: str) -> int:
    parts = module.split(".")
    return FLOORS.index(parts[1] if len(parts) > 1 and parts[1] in FLOORS else "tritforge")


def upward(arrows: dict[str, set[str]]) -> list[str]:
    return [
        f"{module} -> {target}"
        for module, targets in sorted(arrows.items())
        for target in sorted(targets)
        if floor(target) > floor(module)
    ]


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in arrows[module]:
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            component = []
            while not component or component[-1] != module:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for module in arrows:
        if module not in index:
            visit(module)
    return found


def test_imports_go_down_only():
    assert upward(graph()) == []


def test_no_circles():
    assert circles(graph()) == []


def test_the_search_sees_the_package():
    """A search that finds little would pass for ever: so many files and arrows there are at
    least, some of them known."""
    arrows = graph()
    assert len(arrows) >= 240
    assert sum(map(len, arrows.values())) >= 1000
    assert "tritforge.hw.config" in arrows["tritforge.hw.timing"]
    assert "tritforge.sim.backend" in arrows["tritforge.fpga.run.backend"]


def test_everything_is_in_the_wheel():
    """Every folder with Python files is in the list of packages, which setuptools cannot find by
    itself where folders are mapped."""
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {
        module_name(path.parent / "__init__.py")
        for name in FLOORS
        for path in (ROOT / name).rglob("*.py")
    }
    assert set(settings["tool"]["setuptools"]["packages"]) == folders


@pytest.mark.parametrize(
    ("line", "says_upward", "says_circle"),
    [
        ("from tritforge.fpga.errors import BuildError", True, False),
        ("def f():\n    import tritforge.sim.golden", True, False),
        ("def f():\n    from tritforge.sim import golden", True, False),
        ("from ..sim import golden", True, False),
        ("HOMES = {'tritforge.sim.golden': ()}", True, False),
        ("def f():\n    from tritforge.hw import program", False, True),
        ("from . import program", False, True),
        ("import json", False, False),
    ],
)
def test_a_planted_import_is_found(tmp_path, line, says_upward, says_circle):
    files = {
        "common/errors.py": "",
        "hw/program.py": "from tritforge.hw.config import Config",
        "hw/config.py": line,
        "sim/golden.py": "from tritforge.hw.config import Config",
        "fpga/errors.py": "from tritforge.common import errors",
        "tritforge/__init__.py": "HOMES = {'tritforge.hw.config': ()}",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        if path.parent.name != "tritforge":
            (path.parent / "__init__.py").touch()
    arrows = graph(tmp_path)
    assert bool(upward(arrows)) == says_upward
    # an arrow up that its target answers is a circle as well
    assert bool(circles(arrows)) == (says_circle or "golden" in line)


def test_nobody_imports_the_folders_themselves():
    """``import hw`` finds the folder from the repository's root, and nothing elsewhere."""
    bare = set(FLOORS) - {"tritforge"}
    for folder in (*FLOORS, "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                assert not bare & {name.split(".")[0] for name in names}, path
