"""Pages as a browser, a screen reader and a printer take them."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page's tags, addresses, ids, words and texts in place of what is seen."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.ids, self.alternatives, self.words = [], [], [], [], []
        self._open = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.addresses += [values[name] for name in ("src", "href") if name in values and tag != "use"]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img" or values.get("role") == "img":
            self.alternatives.append(values.get("alt", values.get("aria-label", "")))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self._open.pop()

    def handle_data(self, data):
        if not {"style", "pre"} & set(self._open):
            self.words.append(data)


def check_page(text):
    """Return a page, after what holds for each: it is whole, well-formed and self-contained, and shows no NaN."""
    page = Page(text)
    assert text.startswith("<!doctype html>\n<html lang=") and {"title", "style", "main", "h1"} <= set(page.tags)
    assert '<meta charset="utf-8">' in text and '<meta name="viewport"' in text
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert "script" not in page.tags and not re.search(r"@import|https?://(?!www\.w3\.org/)", text)
    assert "default-src 'none'" in text
    assert all(page.alternatives) and len(page.ids) == len(set(page.ids))
    assert not re.search(r"\b(nan|NaN|None|inf)\b", " ".join(page.words))
    return page
