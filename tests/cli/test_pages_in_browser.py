"""Pages in Chromium: nothing fails, everything is seen, heard and reached by the keyboard."""

import shutil
from urllib.parse import quote

import hostile
import pytest
import synthetic

from xmg.cache import decode
from xmg.cli.main import app
from xmg.engine.analysis.retrieval import open_aligned

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed"
)
WORDS = ("headless=new", "no-sandbox", "autoplay-policy=no-user-gesture-required",
         "disable-dev-shm-usage")  # fmt: skip
PLAYED = """
const done = arguments[0], sounds = [...document.querySelectorAll('audio')];
const one = (s) => s.play().then(() => new Promise((go) => {
  const look = () => s.currentTime > 0 ? go(s.duration) : setTimeout(look, 20); look();
})).then((d) => { s.pause(); return d; });
sounds.reduce((before, s) => before.then((all) => one(s).then((d) => [...all, d])),
              Promise.resolve([])).then(done, (e) => done(String(e)));
"""
FOCUSED = """
const e = document.activeElement;
if (e === document.body) return null;
const ring = getComputedStyle(e).outlineStyle, box = e.getBoundingClientRect();
return [e.tagName, (e.getAttribute('aria-label') || e.innerText || '').trim(), ring,
        box.width > 0 && box.height > 0];
"""


def written(*words):
    app([str(word) for word in words], standalone_mode=False)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report of a run, one of an ablation, and what was looked up; most of it hostile."""
    folder = tmp_path_factory.mktemp("browser")
    run, source, target = hostile.world(folder)
    data = ("--source-data", source, "--target-data", target)
    written("report", run, "-o", folder / "run.html", *data)
    query = decode(open_aligned(run).source.ids[[1, 30]])
    written("retrieve", run, *query, "-o", folder / "retrieve.html", *data)
    (folder / "some.toml").write_text(
        f'source = "{synthetic.FeatureFile(folder / "source.h5").path}"\n'
        f'target = "{folder / "target.h5"}"\nsystems = ["class-mean", "cca"]\nseeds = 2\n'
        'shots = [1, 3]\nreference = "cca"\n[settings]\nn_way = 3\nn_query = 4\nn_tasks = 2\n'
        "n_repeats = 2\nn_validation = 4\n"
    )
    written("ablate", folder / "some.toml", "-o", folder / "out")
    written("report", folder / "out", "-o", folder / "ablation.html")
    return folder


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in WORDS:
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


NAMES = ("run", "retrieve", "ablation")


def opened(browser, pages, name, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("file://" + quote(str(pages / f"{name}.html")))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_fails_and_nothing_is_loaded(browser, pages, name):
    opened(browser, pages, name, 1200)
    assert browser.get_log("browser") == []
    loaded = browser.execute_script("return performance.getEntriesByType('resource')")
    assert not [r for r in loaded if not r["name"].startswith("data:")]
    images = "return [...document.images].map(i => i.complete && i.naturalWidth)"
    assert all(browser.execute_script(images))
    assert "alert" not in browser.execute_script("return document.title + location.href")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_the_screen_and_plots_are_seen(browser, pages, name, width):
    opened(browser, pages, name, width)
    widths = "return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    assert max(browser.execute_script(widths)) == width
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(s => [s.getBoundingClientRect().width,"
        " s.getBoundingClientRect().height, s.querySelectorAll('path, use').length])"
    )
    assert len(boxes) == {"run": 5, "retrieve": 0, "ablation": 1}[name]
    assert all(w > 250 and h > 150 and n > 10 for w, h, n in boxes)
    letters = browser.execute_script(
        "return [...document.querySelectorAll('svg text')]"
        ".map(t => t.getBoundingClientRect().height)"
    )
    assert all(height >= 7 for height in letters)


def test_sounds_play(browser, pages):
    for name in ("run", "retrieve"):
        opened(browser, pages, name, 1200)
        browser.set_script_timeout(60)
        played = browser.execute_async_script(PLAYED)
        assert isinstance(played, list) and played, played
        assert all(1.9 < seconds < 2.3 for seconds in played)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_keyboard_reaches_has_a_name_and_is_seen(browser, pages, name):
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages, name, 1200)
    reached = []
    for _ in range(300):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        found = browser.execute_script(FOCUSED)
        if found is None:
            break
        reached.append(tuple(found[:1]))
        assert found[1] and found[3], found
        assert found[2] != "none" or found[0] == "AUDIO", found  # which draws its own
    kinds = {kind for (kind,) in reached}
    assert reached[0] == ("A",) and {"A", "DIV", "SUMMARY"} <= kinds
    tags = "return document.querySelectorAll('summary').length"
    assert reached.count(("SUMMARY",)) == browser.execute_script(tags)
    assert ("AUDIO" in kinds) == (name != "ablation")


def test_the_skip_link_leads_to_the_content(browser, pages):
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages, "run", 1200)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.activeElement.id") == "main"
