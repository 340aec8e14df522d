"""Pages to test, and what reads them: numbers, embedded documents, elements."""

import json
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser

from tests.tritforge.report.synthetic import ALEXNET, DIGITS, documents, drawn_kernels
from tritforge.report.page import build_page

#: Additions of layers, and options, of networks of all kinds.
CASES = {
    "alexnet": (ALEXNET, {}),
    "digits": (DIGITS, {"config": "tiny", "images": 4}),
    "streamed": (DIGITS, {"config": "tiny", "streamed": True, "baselines": False}),
    "deep": (
        {
            f"stage{number // 6}.block_{number}.bottleneck.convolution_{number}_of_many": 1e6
            * (1 + number % 7)
            for number in range(60)
        },
        {"baselines": False},
    ),
    "alike": (
        {f"layer{number}.very.long.name.of.a.convolution.{number}": 1e6 for number in range(12)},
        {"baselines": False, "checked": False, "seed": 3},
    ),
    "nothing": ({"pool": 0.0}, {"config": "tiny", "baselines": False, "network": "x" * 90}),
}

_EMPTY = {"meta", "link", "br", "img", "input", "hr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    parents: tuple[str, ...] = ()


@dataclass
class Page(HTMLParser):
    """Elements in the order of their ends, with all text in them."""

    source: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self):
        super().__init__(convert_charrefs=True)
        self.open = []
        self.feed(self.source)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute stands twice: {tag} {attrs}"
        element = Element(tag, dict(attrs), parents=tuple(one.tag for one in self.open))
        if tag in _EMPTY:
            self.elements.append(element)
        else:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        element = self.open.pop()
        assert element.tag == tag, f"{element.tag} is ended by {tag}"
        self.elements.append(element)
        if self.open:
            self.open[-1].text += element.text

    def handle_data(self, data):
        if self.open:
            self.open[-1].text += data

    def find(self, tag, **attributes):
        return [
            one
            for one in self.elements
            if one.tag == tag
            and all(one.attributes.get(name) == value for name, value in attributes.items())
        ]

    def documents(self):
        return {
            one.attributes["id"]: json.loads(one.text)
            for one in self.find("script", type="application/json")
        }

    def numbers(self):
        return [one for one in self.elements if "data-path" in one.attributes]


@cache
def made(name):
    """Documents, and the page of them."""
    adds, options = CASES[name]
    found = documents(adds, **options)
    kernels = [] if name == "nothing" else [drawn_kernels()]
    return found, Page(
        build_page(
            *found,
            kernels,
            commands=[("Run it:", "tritforge simulate " + "x" * 200)],
            versions={"Python": "3"},
        )
    )
