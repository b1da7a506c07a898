"""A report as a browser would take it apart, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

#: elements that hold no others and are never closed
_VOID = {"meta", "input", "br", "hr", "img", "link"}


class Page(HTMLParser):
    """tags: all that were opened, with their attributes. text: what a person reads. scripts: (attributes, content)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.style = ""
        self.parts: list[str] = []
        self._open: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "script":
            self.scripts.append((self.tags[-1][1], ""))
        if tag not in _VOID and tag != "path":
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] == ["script"]:
            attributes, content = self.scripts[-1]
            self.scripts[-1] = attributes, content + data
        elif self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.parts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())

    @property
    def programs(self) -> list[str]:
        """The scripts that are run."""
        return [content for attributes, content in self.scripts if "type" not in attributes]

    @property
    def charts(self) -> dict:
        """What is drawn, by the id of its place."""
        return json.loads(next(content for attributes, content in self.scripts if attributes.get("id") == "charts"))

    @property
    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}

    def tokens(self) -> list[dict]:
        """What each search box has."""
        packed = [content for attributes, content in self.scripts if attributes.get("type") == "text/plain"]
        return [json.loads(zlib.decompress(base64.b64decode(content))) for content in packed]

    def section(self, name: str) -> str:
        """The HTML of a section."""
        return self.html.partition(f'<section id="{name}">')[2].partition("</section>")[0]

    def assert_closed(self) -> None:
        """Nothing is loaded from anywhere, and no script may run that is not the packages' own."""
        for tag, attributes in self.tags:
            assert tag not in ("link", "iframe", "img", "object", "embed", "base", "form", "audio", "video", "use")
            assert not {"src", "srcset", "action", "data", "background", "poster", "ping"} & set(attributes)
            assert not [name for name in attributes if name.startswith("on")]
            assert attributes.get("href", "#").startswith("#")
            assert "url(" not in attributes.get("style", "")
        assert not re.search(r"@import|url\(|https?:", self.style)
        policy = next(a["content"] for _, a in self.tags if a.get("http-equiv") == "Content-Security-Policy")
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert not {"connect-src", "font-src", "frame-src", "media-src", "worker-src"} & set(rules)
        hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in self.programs]
        assert rules["script-src"].split() == [f"'sha256-{each}'" for each in hashes]
        assert len(self.programs) == 2  # Bokeh's, and our own:
        assert not re.search(r"fetch\(|XMLHttpRequest|import\(|WebSocket|innerHTML|eval\(|https?:", self.programs[1])
