"""What is wrong in a site of static pages: links to nowhere, and parts that only the network has."""

import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# what a browser loads by itself, by tag; a link that somebody has to click may lead out of the site
_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src",
           "embed": "src", "object": "data", "link": "href"}  # fmt: skip
_REMOTE_STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.I)


class _Page(HTMLParser):
    """The names that a page can be entered by, what it links to, and what it loads."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.styles: list[str] = []
        self._in_style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self._in_style = tag == "style"
        self.styles.append(given.get("style", ""))
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if given.get(_LOADED.get(tag, "")):
            self.loaded.append(given[_LOADED[tag]])
        if tag in ("a", "area") and given.get("href"):
            self.links.append(given["href"])

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def what_is_wrong(site: Path) -> list[str]:
    """A sentence for each link of a page to a file or an anchor that is not there, and for each remote part."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [
        f"{path.relative_to(site)}: {problem}" for path, page in pages.items() for problem in _wrong(path, page, pages)
    ]
    for path in sorted(site.rglob("*.css")):
        for address in _REMOTE_STYLE.findall(path.read_text(encoding="utf-8")):
            found.append(f"{path.relative_to(site)}: it loads {address} from the network")
    return found


def _wrong(path: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    for address in page.loaded + _REMOTE_STYLE.findall("\n".join(page.styles)):
        if address.startswith("//") or urlsplit(address).scheme in ("http", "https"):
            yield f"it loads {address} from the network"
    for address in [*page.links, *page.loaded]:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
        if not target.is_file():
            yield f"the link {address} leads to a file that is not there"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
            yield f"the link {address} leads to a place that is not on that page"
