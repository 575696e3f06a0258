"""The documentation site: it builds without a warning, and pages load nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    missing = [name for name in ("mkdocs", "material", "mkdocstrings") if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'xmg[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return out


class Loaded(HTMLParser):
    """What a browser fetches for a page before anybody clicks."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag in {"script", "img", "iframe", "source", "video", "audio"}:
            self.urls.append(found.get("src") or "")
        if tag == "link" and found.get("rel") in {"stylesheet", "preconnect", "icon", "preload"}:
            self.urls.append(found.get("href") or "")


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and 404.html
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.urls
        assert not [url for url in loaded.urls if re.match(r"(https?:)?//", url)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), (
            sheet
        )


@pytest.mark.slow
def test_reference_names_what_the_package_has(site):
    """A page per room, with signatures read from the source."""
    wanted = {
        "cache": ("xmg.cache.FeatureFile", "xmg.cache.from_arrays"),
        "extract": ("xmg.extract.pipeline.extract", "xmg.extract.types.Encoder"),
        "engine": ("xmg.engine.train.meta_train", "xmg.engine.meta_test.evaluate_run"),
        "analysis": ("xmg.engine.analysis.retrieval.retrieval",),
    }
    for page, names in wanted.items():
        html = (site / "api" / f"{page}.html").read_text(encoding="utf-8")
        for name in names:
            assert f'id="{name}"' in html, name


def test_every_page_is_in_the_navigation_or_named_by_one():
    """A page that nothing leads to is lost."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    for page in PAGES:
        name = page.relative_to(ROOT / "docs").as_posix()
        linked = any(page.name in text for other, text in texts.items() if other != page)
        assert name in nav or linked, name


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda p: p.name)
def test_commands_of_pages_exist(page):
    """Every `xmg ...` line of a shell block names a command, and options that it has."""
    from typer.main import get_command

    from xmg.cli.main import app

    commands = get_command(app)
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    for line in lines:
        for call in re.findall(r"(?:^|[;&|] |\$ )\s*xmg ([^;&|#\n]*)", line.strip()):
            words = [word for word in call.split() if word != "--log-json"]  # of any command
            command = commands
            while words and words[0] in getattr(command, "commands", {}):
                command = command.commands[words.pop(0)]
            known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
            known |= {"--help", "-h"}
            assert command is not commands or words[:1] in (["--help"], ["--version"], ["-h"]), line
            assert {w.split("=")[0] for w in words if re.match(r"--?[a-z]", w)} <= known, line
