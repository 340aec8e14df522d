"""Figures of matplotlib as SVG inside a page: colours of its theme, text as text, no clashing ids.

Matplotlib draws with colours that stand for CSS variables (:data:`INKS`); they are replaced in tags
alone, so that no name of a layer is touched. Texts that are numbers get the attributes of
:mod:`tritforge.report.numbers`.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

__all__ = ["INKS", "Drawing", "draw", "labels", "shortened"]

_NAMES = ("ink", "faint", "grid", "paper", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8")
#: Colours to draw with, by the CSS variable that takes their place.
INKS = {name: f"#01{16 + index:02x}fe" for index, name in enumerate(_NAMES)}
#: Longest name of a layer in a plot; tables have all of it.
_LONGEST = 22

_STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.parse_math": False,  # a dollar sign in a name is one
    "axes.unicode_minus": False,
    "text.color": INKS["ink"],
    "axes.labelcolor": INKS["ink"],
    "axes.edgecolor": INKS["faint"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": INKS["faint"],
    "ytick.color": INKS["faint"],
    "xtick.labelcolor": INKS["ink"],
    "ytick.labelcolor": INKS["ink"],
    "grid.color": INKS["grid"],
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "ytick.major.size": 0,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10.5,
    "axes.labelsize": 10.5,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}


@dataclass
class Drawing:
    """A figure in the making.

    Members
    -------
    figure : Figure
    numbers : dict[str, Markup]
        Attributes of texts that are numbers, by their id.
    """

    figure: Figure
    numbers: dict[str, Markup] = field(default_factory=dict)

    def mark(self, text: Text, attributes: Markup) -> None:
        """State of a text which number it is."""
        name = f"number-{len(self.numbers)}"
        self.numbers[name] = attributes
        text.set_gid(name)


def shortened(name: str, longest: int = _LONGEST) -> str:
    """A name that fits a plot: the middle of a long one is left out."""
    clean = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name
    )
    if len(clean) <= longest:
        return clean
    tail = longest // 2
    return f"{clean[: longest - tail - 1]}…{clean[-tail:]}"


def labels(names: Sequence[str]) -> list[str]:
    """Names that fit a plot; numbered, from 1, if they cannot be told apart."""
    short = [shortened(name) for name in names]
    if len(set(short)) == len(short):
        return short
    return [f"{number} {shortened(name, _LONGEST - 4)}" for number, name in enumerate(names, 1)]


def draw(
    name: str, title: str, size: tuple[float, float], paint: Callable[[Drawing], None]
) -> Markup:
    """An SVG element.

    Parameters
    ----------
    name : str
        A word that no other figure of the page has; ids begin with it.
    title : str
        What a screen reader says.
    size : tuple of float
        Width and height in units of 1/72 inch, which are those of the ``viewBox``.
    paint
        Draws on the figure.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        drawing = Drawing(
            Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72, layout="constrained")
        )
        FigureCanvasAgg(drawing.figure)  # measures texts
        buffer = io.StringIO()
        with warnings.catch_warnings():
            # letters that the measuring font lacks: the browser has its own fonts
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            paint(drawing)
            for axes in drawing.figure.axes:
                for axis in (axes.xaxis, axes.yaxis):
                    axis.label.set_gid("axis-label")
            # savefig would lay everything out once more
            FigureCanvasSVG(drawing.figure).print_svg(
                buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
            )
    return _inline(buffer.getvalue(), name, title, size, drawing.numbers)


def _inline(
    text: str, name: str, title: str, size: tuple[float, float], numbers: Mapping[str, Markup]
) -> Markup:
    body = text[text.index("<svg") :]
    body = body[body.index(">") + 1 : body.rindex("</svg>")]
    body = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL
    )
    wanted = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", body))

    def tag(match: re.Match[str]) -> str:
        found = match[0]
        for variable, color in INKS.items():
            found = found.replace(color, f"var(--{variable})")
        found = re.sub(r"font: (\w+ )?([\d.]+)px 'DejaVu Sans'", r"font-size: \2px", found)
        found = re.sub(
            r" id=\"([^\"]*)\"", lambda at: _identified(at[1], name, wanted, numbers), found
        )
        found = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", found)
        return found.replace("xlink:href", "href")

    body = re.sub(r"<[^>]*>", tag, body)
    body = re.sub(r"\n\s*", "\n", body).strip()
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}" '
        'style="--width:{}px">{}</svg>'
    ).format(round(size[0], 1), round(size[1], 1), title, round(size[0]), Markup(body))


def _identified(found: str, name: str, wanted: set[str], numbers: Mapping[str, Markup]) -> str:
    """The id of an element, if anything refers to it; or the attributes of a number; or what an
    axis is, by which tests find it."""
    if found in numbers:
        return f" {numbers[found]}"
    if found in wanted:
        return f' id="{name}-{found}"'
    if kind := re.fullmatch(r"(axis-label|axes|matplotlib\.axis)(_\d+)?", found):
        return f' class="{kind[1].replace(".", "-")}"'
    return ""
