"""Reads a page: its numbers, its embedded documents, its elements."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser

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
        return [one for one in self.elements if one.tag == tag and all(
            one.attributes.get(name) == value for name, value in attributes.items())]

    def documents(self):
        return {one.attributes["id"]: json.loads(one.text)
                for one in self.find("script", type="application/json")}

    def numbers(self):
        return [one for one in self.elements if "data-path" in one.attributes]
