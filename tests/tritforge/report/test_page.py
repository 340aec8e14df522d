"""The page: numbers equal the estimate, names are escaped, nothing is fetched, bytes repeat."""

import base64
import hashlib
import json
import math
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tests.tritforge.report.pages import CASES, Page, made
from tests.tritforge.report.synthetic import HOSTILE, documents, drawn_kernels
from tritforge.common.files import file_obstacle
from tritforge.cost.components import COMPONENTS, OFF_CHIP
from tritforge.cost.results import Estimate
from tritforge.report.numbers import KINDS
from tritforge.report.page import build_page, is_page
from tritforge.report.plots.legend import CAUSES, GROUPS
from tritforge.report.svg import INKS, labels, shortened
from tritforge.sim.result import CLUSTER_CYCLES


@pytest.fixture(params=CASES)
def case(request):
    return made(request.param)


def off_by(text, value, factor):
    """By how many units of its last digit a text differs from a value."""
    mantissa, _, exponent = text.replace(",", "").partition("e")
    places = len(mantissa.partition(".")[2])
    last = 10.0 ** (int(exponent or 0) - places) * factor
    return abs(float(text.replace(",", "")) * factor - value) / last


@pytest.mark.compiles
def test_every_number_is_the_estimates(case):
    """Value and text of every number on the page, plots included, against the embedded JSON."""
    _, page = case
    embedded = page.documents()
    numbers = page.numbers()
    assert len(numbers) > 200
    for one in numbers:
        place = embedded[one.attributes["data-in"]]
        for key in one.attributes["data-path"].split("."):
            place = place[int(key)] if isinstance(place, list) else place[key]
        factor = KINDS[one.attributes["data-kind"]][one.attributes["data-unit"]]
        if one.tag == "data":
            assert json.loads(one.attributes["value"]) == place
        else:
            assert "svg" in one.parents
        assert off_by(one.text.strip(), place, factor) <= 0.5 + 1e-6, (one, place)
        if place:
            share = one.attributes["data-kind"] == "share"
            assert share or math.isclose(
                float(one.text.replace(",", "")) * factor, place, rel_tol=6e-3
            )


def test_documents_are_embedded_whole(case):
    (estimate, run, image), page = case
    embedded = page.documents()
    said = estimate.to_json()
    del said["seconds"]  # the same files shall give the same page
    assert embedded["estimate"] == said
    assert embedded["run"] == run.to_json() and embedded["image"] == image.to_json()
    assert set(embedded) == {"estimate", "run", "image", "derived"}


def test_energies_stand_with_their_bands(case):
    """Where a typical energy or area stands in the text, low and high stand beside it."""
    _, page = case
    typical = {
        one.attributes["data-path"]
        for one in page.find("data")
        if one.attributes["data-kind"] in ("energy", "area", "pJ", "power")
        and json.loads(one.attributes["value"])
        and one.attributes["data-path"].endswith(".typical")
    }
    assert len(typical) > 40
    paths = [one.attributes["data-path"] for one in page.find("data")]
    for path in typical:
        for key in ("low", "high"):
            other = path.removesuffix("typical") + key
            assert paths.count(other) >= 1, path


def test_self_contained(case):
    """Nothing is fetched: no address but fragments of the page, and a policy that forbids it."""
    _, page = case
    for one in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            value = one.attributes.get(name, "")
            assert not value or value.startswith("#"), one
        assert "url(" not in one.attributes.get("style", "")
    assert not page.find("link") and not page.find("img") and not page.find("iframe")
    policy = page.find("meta", **{"http-equiv": "Content-Security-Policy"})[0]
    script = next(one for one in page.find("script") if "type" not in one.attributes)
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy.attributes["content"]
    assert "default-src 'none'" in policy.attributes["content"]
    assert "://" not in page.find("style")[0].text


def test_ids_are_there_once(case):
    _, page = case
    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for one in page.elements:
        targets = re.findall(r"url\(#([^)]*)\)", " ".join(map(str, one.attributes.values())))
        targets += [one.attributes["href"][1:]] if "href" in one.attributes else []
        assert set(targets) <= set(ids), targets


def test_colors_are_the_themes(case):
    """No colour of matplotlib is left in a plot, and text is text."""
    _, page = case
    inside = [one for one in page.elements if "svg" in one.parents]
    assert len(inside) > 100
    for one in inside:
        style = one.attributes.get("style", "")
        assert "#" not in style.replace("url(#", ""), style
        for name in ("fill", "stroke"):
            assert not one.attributes.get(name, "").startswith("#")
    assert [one for one in inside if one.tag == "text"]


def test_same_arguments_same_bytes():
    first = made("digits")[1].source
    assert made.__wrapped__("digits")[1].source == first
    assert "matplotlib" not in first.lower().replace("matplotlib-axis", "")


def test_names_are_escaped():
    """Names from files are text wherever they stand."""
    # the last two: what stands for a colour in tags, and letters that no font here has
    color, foreign = f'style="{INKS["ink"]}"', "\x1b[31m卷积\u202e"
    found = documents({HOSTILE: 1e6, "b" + HOSTILE: 2e6, color: 1e6, foreign: 1e6}, network=HOSTILE)
    said = found[0].to_json()
    said["image"] = said["technology"]["title"] = HOSTILE
    said["area"]["library"] = said["area"]["blocks"][0]["name"] = HOSTILE
    found = Estimate.from_json(said), *found[1:]
    del said["seconds"]
    found[2].extra["provenance"] = {"statement": HOSTILE}
    text = build_page(
        *found, [drawn_kernels(HOSTILE)], commands=[(HOSTILE, HOSTILE)], versions={HOSTILE: HOSTILE}
    )
    assert "<script>alert" not in text and "alert(1)</script>" not in text
    page = Page(text)
    assert len(page.find("script")) == 5
    assert page.documents()["estimate"] == said
    assert page.find("title")[0].text.startswith(HOSTILE)
    shown = [one.text.strip() for one in page.elements if one.tag == "th"]
    assert HOSTILE in shown
    drawn = [one.text.strip() for one in page.elements if one.tag == "text"]
    assert shortened(HOSTILE) in drawn and color in drawn
    assert any("卷积" in one for one in drawn)


def test_shortened():
    assert shortened("conv1") == "conv1"
    assert shortened("a" * 30 + "b" * 30) == "a" * 10 + "…" + "b" * 11
    assert shortened("a\x00\x1bb\n") == "a\ufffd\ufffdb\ufffd"


def test_labels():
    assert labels(["a", "b"]) == ["a", "b"]
    assert labels(["a" * 40, "a" * 41]) == [f"{number} aaaaaaaa…aaaaaaaaa" for number in (1, 2)]


def test_is_page(tmp_path):
    """A page may be replaced, other files and folders may not."""

    def foreign(path):
        return file_obstacle(path, "is foreign", is_page)

    path = tmp_path / "x.html"
    assert not is_page("") and foreign(path) is None
    path.write_text("<html>")
    assert foreign(path) == f"{path} exists and is foreign; it is left as it is"
    path.write_text(made("digits")[1].source, encoding="utf-8")
    assert foreign(path) is None
    link = tmp_path / "link.html"
    link.symlink_to(path)
    path.write_bytes(b"\xff\xfe")
    assert foreign(path) and foreign(tmp_path) and foreign(link)


def test_streamed_tells_of_the_host_port():
    text = made("streamed")[1].source
    assert "Through the host port" in text and "it is sent while the array computes" in text
    assert "Through the host port" not in made("digits")[1].source


def test_every_cause_and_component_has_a_color():
    assert set(CAUSES) == set(CLUSTER_CYCLES)
    members = [one for _, chosen in GROUPS.values() for one in chosen]
    assert sorted(members) == sorted(set(COMPONENTS) - {OFF_CHIP})


def themes():
    """Variables of the light, dark and print themes."""
    import tritforge.report.page as module

    style = (Path(module.__file__).parent / "page.css").read_text()
    return [
        dict(re.findall(r"--(\w+): (#\w{6})", block))
        for block in re.findall(r"\{([^{}]*--paper:[^{}]*)\}", style)
    ]


def contrast(first, second):
    """As WCAG 2 has it."""

    def luminance(color):
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [
            one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_contrast():
    found = themes()
    assert len(found) == 3
    for theme in found:
        for name in ("ink", "faint", "link"):
            assert contrast(theme[name], theme["paper"]) >= 4.5, name
            assert contrast(theme[name], theme["card"]) >= 4.5, name
        for name in ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "plus", "minus"):
            assert contrast(theme[name], theme["paper"]) >= 3, name
        # what must be told apart where it touches
        assert contrast(theme["c1"], theme["c5"]) >= 1.5
        assert contrast(theme["plus"], theme["zero"]) >= 2.5
        assert contrast(theme["minus"], theme["zero"]) >= 2.5


#: Linear RGB as seen without green, or red, cones: Machado, Oliveira and Fernandes, IEEE
#: Transactions on Visualization and Computer Graphics 15(6), 2009, severity 1.0.
BLINDNESS = {
    "none": np.eye(3),
    "green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


def seen(color, blindness):
    """CIE L*a*b* of a colour; distances of about 2 can just be seen side by side."""
    parts = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    linear = np.clip(BLINDNESS[blindness] @ linear, 0, 1)
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ linear
        / (0.9505, 1.0, 1.089)
    )
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colors_can_be_told_apart(blindness):
    for theme in themes():
        shown = {
            name: seen(theme[name], blindness)
            for name in (*(f"c{number}" for number in range(1, 9)), "plus", "minus")
        }
        for first, second in [*combinations(list(shown)[:8], 2), ("plus", "minus")]:
            distance = np.linalg.norm(shown[first] - shown[second])
            assert distance >= 20, (first, second, distance)
