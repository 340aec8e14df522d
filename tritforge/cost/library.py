"""Cell libraries for mapping: made from a technology's cells, or a user's Liberty file."""

import re
from dataclasses import dataclass
from pathlib import Path

from tritforge.cost.band import Band
from tritforge.cost.errors import CostError
from tritforge.cost.figures import CELL_KINDS, TAKEN
from tritforge.cost.technology import Technology

__all__ = ["Library", "built_in_library", "user_library"]


@dataclass(frozen=True)
class Library:
    """Cells that synthesis may use.

    Members
    -------
    name : str
        What reports call it.
    text : str
        The library in Liberty format.
    areas : dict[str, Band]
        um2 of every cell, by the cell's name.
    flip_flops : tuple of str
        Names of cells that store a bit at a clock edge.
    """

    name: str
    text: str
    areas: dict[str, Band]
    flip_flops: tuple[str, ...]


def built_in_library(technology: Technology) -> Library:
    """The cells of a technology. Areas in the text are typical ones."""
    lines = ["library(cells) {"]
    for kind, (pins, function) in CELL_KINDS.items():
        cell = technology.cells[kind]
        lines.append(f"  cell({cell.cell}) {{ area : {cell.area.typical};")
        if kind == "DFF":
            lines.append('    ff(IQ, IQN) { clocked_on : "CK"; next_state : "D"; }')
        lines += [f"    pin({pin}) {{ direction : input; }}" for pin in pins]
        output = "Q" if kind == "DFF" else "Y"
        lines.append(f'    pin({output}) {{ direction : output; function : "{function}"; }}')
        lines.append("  }")
    lines += ["}", ""]
    return Library(
        technology.name,
        "\n".join(lines),
        {cell.cell: cell.area for cell in technology.cells.values()},
        (technology.cells["DFF"].cell,),
    )


def user_library(path: Path) -> Library:
    """A Liberty file. Areas are taken to be um2, as everywhere; they have no band.

    Raises
    ------
    CostError
        It cannot be read, is no Liberty library, a cell has no area, or it has no cell of a kind
        that mapping needs: flip-flop, inverter, buffer, NAND or NOR of two inputs.
    """
    where = f"liberty file {path}"
    try:
        # names are ASCII; comments may be anything
        text = path.read_bytes().decode("ascii", errors="replace")
    except OSError as error:
        raise CostError(f"{where} cannot be read: {error.strerror}") from error
    bodies = _cells(text, where)
    areas: dict[str, Band] = {}
    functions: set[str] = set()
    flip_flops = []
    for name, body in bodies.items():
        found = re.search(r"^\s*area\s*:\s*\"?([-+.\deE]+)\"?\s*;?", _outermost(body), re.MULTILINE)
        try:
            area = float(found[1]) if found else -1.0
        except ValueError:
            area = -1.0
        if found is None and not re.search(r"\bfunction\s*:|\bff\s*\(|\blatch\s*\(", body):
            continue  # fillers and the like
        if not 0 <= area < 1e12:
            raise CostError(f"cell {name} of {where} has no area")
        if name in TAKEN:
            raise CostError(f"{where} has a cell {name}, as a module of the design is called")
        areas[name] = Band.exact(area)
        if re.search(r"\bff\s*\(", body):
            flip_flops.append(name)
        else:
            functions |= {
                _normal(one) for one in re.findall(r"\bfunction\s*:\s*\"([^\"]*)\"", body)
            }
    if not flip_flops:
        raise CostError(f"{where} has no flip-flop, which every design needs")
    if not functions & {"A'"}:
        raise CostError(f"{where} has no inverter, which every design needs")
    if not functions & {"(A*B)'", "A'+B'", "(A+B)'", "A'*B'"}:
        raise CostError(
            f"{where} has neither a NAND nor a NOR of two inputs, which every design needs"
        )
    if not functions & {"A"}:
        raise CostError(f"{where} has no buffer, which mapping needs")
    return Library(path.name, text, areas, tuple(flip_flops))


def _cells(text: str, where: str) -> dict[str, str]:
    """Bodies of the cells of a Liberty text, by name."""
    # strings stay, without brackets; comments go
    text = re.sub(
        r'"(?:[^"\\]|\\.)*"|/\*.*?\*/|//[^\n]*',
        lambda match: re.sub(r"[{}]", " ", match[0]) if match[0][0] == '"' else " ",
        text,
        flags=re.DOTALL,
    )
    text = re.sub(r"\\\r?\n", " ", text)
    if not re.search(r"\blibrary\s*\(", text):
        raise CostError(f"{where} has no library")
    found = {}
    for match in re.finditer(r"(?<![\w])cell\s*\(\s*\"?([^\s\")]+)\"?\s*\)\s*\{", text):
        depth, place = 1, match.end()
        while depth:
            step = re.compile(r"[{}]").search(text, place)
            if step is None:
                raise CostError(f"cell {match[1]} of {where} does not end")
            depth += 1 if step[0] == "{" else -1
            place = step.end()
        found[match[1]] = text[match.end() : place - 1]
    if not found:
        raise CostError(f"{where} has no cells")
    return found


def _outermost(body: str) -> str:
    """A cell's own attributes, without those of its pins."""
    result, depth = [], 0
    for part in re.split(r"([{}])", body):
        if part in "{}" and part:
            depth += 1 if part == "{" else -1
        elif depth == 0:
            result.append(part.replace(";", ";\n"))
    return "\n".join(result)


def _normal(function: str) -> str:
    """A function of one or two inputs with these called A and B, without needless brackets, and
    with ``'`` for ``!``, ``*`` for ``&``, ``+`` for ``|``."""
    text = re.sub(r"\s*([&*|+()!'^])\s*", r"\1", function.strip())
    text = text.replace("&", "*").replace("|", "+").replace(" ", "*")
    names = sorted(set(re.findall(r"[A-Za-z_]\w*", text)))
    if len(names) > 2:
        return ""
    letters = dict(zip(names, "AB", strict=False))
    text = re.sub(r"[A-Za-z_]\w*", lambda match: letters[match[0]], text)
    text = re.sub(r"!(\w)", r"\1'", text)
    text = re.sub(r"!(\([^()]*\))", r"\1'", text)
    while (inner := re.sub(r"\((\w'?)\)", r"\1", text)) != text:
        text = inner
    while text.startswith("(") and text.endswith(")") and _closes(text) == len(text) - 1:
        text = text[1:-1]
    return text


def _closes(text: str) -> int:
    """Where the bracket that a text begins with closes."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place
    return -1
