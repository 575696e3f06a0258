"""A strict reader of HTML pages: what they hold, and whether they are sound."""

from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "link", "img", "br", "hr", "input"}
LINKS = {"src", "href", "xlink:href", "action", "data", "poster", "srcset"}


class Page(HTMLParser):
    """tags: (name, attributes) in order; texts: what stands between them, styles left out."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return "\n".join(self.texts)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def read(text):
    """Parse a page, and check what every page must keep to."""
    page = Page(text)
    tags = {name for name, _ in page.tags}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "b", "template"}
    for name, attributes in page.tags:
        for key, value in attributes.items():
            assert not key.startswith("on"), (name, attributes)
            if key in LINKS:
                assert value.startswith(("#", "data:")), (name, value)
    assert "http:" not in text and "https:" not in text and "url(//" not in text
    csp = next(m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert csp["content"].startswith("default-src 'none'; img-src data:; media-src data:;")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("header")) == 1
    assert len(page.all("footer")) == 1
    assert any(m.get("name") == "viewport" for m in page.all("meta"))
    levels = [int(name[1]) for name, _ in page.tags if name in {"h1", "h2", "h3", "h4"}]
    assert all(b <= a + 1 for a, b in pairwise(levels)), levels
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(set(ids)) == len(ids)
    targets = [a["href"][1:] for name, a in page.tags if name == "a"]
    assert set(targets) <= set(ids)
    for svg in page.all("svg"):
        assert svg["role"] == "img" and len(svg["aria-label"]) > 20 and "viewbox" in svg
    assert all(image["alt"] for image in page.all("img"))
    assert all(sound["aria-label"] for sound in page.all("audio"))
    for _, a in page.tags:
        assert "tabindex" not in a or a.get("aria-label") or a.get("id") == "main"
    return page
