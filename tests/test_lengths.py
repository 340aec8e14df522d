"""Functions and files stay short enough to be read at once."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("common", "hw", "model_export", "sim", "fpga", "tritforge", "tests", "benchmarks")
MOST_LINES_OF_A_FUNCTION = 130
MOST_LINES_OF_A_FILE = 1200
#: Longer functions, by file and qualified name, and why they are.
LONG_FUNCTIONS = {
    ("tests/tritforge/report/synthetic.py", "documents"): (
        "one document after the other, in the order in which they draw their numbers"
    ),
}


def sources(root: Path = ROOT) -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]


def function_lengths(text: str) -> dict[str, int]:
    """Lines of every function by qualified name, from ``def`` on, those inside it included."""
    found: dict[str, int] = {}

    def visit(node: ast.AST, path: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            inside = path
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = (*path, child.name)
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name = ".".join(inside)
                length = child.end_lineno - child.lineno + 1
                found[name] = max(length, found.get(name, 0))  # a setter has its getter's name
            visit(child, inside)

    visit(ast.parse(text), ())
    return found


def all_functions() -> dict[tuple[str, str], int]:
    return {
        (path.relative_to(ROOT).as_posix(), name): length
        for path in sources()
        for name, length in function_lengths(path.read_text(encoding="utf-8")).items()
    }


def test_functions_are_short_but_for_those_named():
    long = {key for key, lines in all_functions().items() if lines > MOST_LINES_OF_A_FUNCTION}
    assert long == set(LONG_FUNCTIONS), "too long, or named as long and no longer so"


def test_files_are_short():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources()
    }
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE} == {}


def test_the_search_sees_the_sources():
    """A search that finds little would pass for ever."""
    assert len(sources()) >= 350
    functions = all_functions()
    assert len(functions) >= 2500
    assert ("hw/walker.py", "Walker.elaborate") in functions


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("def f():\n    pass", {"f": 2}),
        ("async def f():\n    x = 1\n    return x", {"f": 3}),
        (
            "class A:\n    def f(self):\n        def g():\n            pass\n        return g",
            {"A.f": 4, "A.f.g": 2},
        ),
        ("if 1:\n    def f():\n        pass", {"f": 2}),
        ("def f():\n    pass\n\ndef f():\n    x = 1\n    return x", {"f": 3}),
    ],
)
def test_lengths_that_it_finds(text, lengths):
    assert function_lengths(text) == lengths
