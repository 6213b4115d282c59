"""The page of `jaxconv verify --html`: nothing from outside runs in it, it says what was found, a browser agrees."""

import base64
import hashlib
import json
import os
import re
import stat
from pathlib import Path

import numpy as np
import pytest
from test_verify import ROWS, fake

import browser
from jaxconv import cli
from jaxconv.accuracy.heat import COLUMNS, Heat
from jaxconv.accuracy.heat import ROWS as HEIGHT
from jaxconv.terminal import console, output, picture
from jaxconv.terminal.console import versions
from jaxconv.verify import page, run
from jaxconv.verify.run import Row
from pages import EVIL, Tree, luminance


def rows() -> list[Row]:
    """Right, wrong, infinite and unmeasured ones, with what a hostile text may hold."""
    random = np.random.default_rng(0)
    heat = Heat.of("dx", random.uniform(0, 2, (2, 3, 20, 30)))
    off = Heat.of(EVIL, np.where(np.arange(12).reshape(3, 4) == 7, np.inf, 0.5))
    return [
        Row("exercise", "1. sizes", "cpu", True, detail="y[c, 2r + k]"),
        Row("exercise", EVIL, "cpu", False, detail=f"ValueError: {EVIL}"),
        Row("convolution", "ten", "cpu", True, 2.5, 0.5, "dx[0]", 1.0, 20.0, "", {"y": 0.5, "dx": 2.5}, heat),
        Row("convolution", "nothing", "cpu", True),
        Row("convolution", "two", "cpu", True, 9e-05, 0.5, "dx[0]", 10.0, 2.0, "", {"y": 0.5, "dx": 2.5}, heat),
        Row("convolution", "inf", "cpu", False, np.inf, 9.0, EVIL, 2.0, 2.0, EVIL, {EVIL: np.inf, "y": 0.0}, off),
        Row("recurrence", "a long one " * 8, "cpu", True, 0.5, 0.5, "second w_x[1, 0]", 2.0, 1e6),
    ]


@pytest.fixture
def tree(monkeypatch) -> Tree:
    monkeypatch.setattr(console.machine, "platform", lambda: EVIL)
    return Tree(page.as_html(rows(), 7))


def test_what_comes_from_outside_is_text(tree):
    assert len(tree.all("script")) == 1
    assert not tree.all("img")
    assert not [name for _, attributes in tree.elements for name in attributes if name.startswith("on")]
    # The case's name, its error, the host's name; a row's name, place, detail and output: all of it is to be read.
    assert len([text for tag, text in tree.texts if tag in ("td", "small", "dd", "code") and EVIL in text]) >= 6


def test_the_page_needs_nothing_else(tree):
    for _, attributes in tree.elements:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:"))
    style = "".join(text for tag, text in tree.texts if tag == "style")
    assert not re.search(r"@import|url\((?!#)", style)


def test_its_script_and_no_other_may_run(tree):
    (policy,) = [meta["content"] for meta in tree.all("meta") if "http-equiv" in meta]
    (script,) = [text for tag, text in tree.texts if tag == "script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe-eval" not in policy


def test_every_link_leads_to_a_row(tree):
    names = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    links = [a["href"].removeprefix("#") for a in tree.all("a")]
    assert set(links) <= set(names)
    assert {"check-2", "check-6"} <= set(links), "those that disagree"


def words(text: str) -> str:
    return " ".join(" ".join(data for tag, data in Tree(text).texts if tag not in ("style", "script")).split())


def test_verdict_and_machine_come_first():
    first = words(page.as_html(rows(), 7)).split("Where the worst")[0]
    assert "WRONG 2 of 7 checks disagree." in first
    assert "exercise 1 of 2 convolution 3 of 4 recurrence 1 of 1" in first
    for value in versions().values():
        assert " ".join(value.split()) in first


@pytest.mark.parametrize(
    ("found", "planned", "word"),
    [(ROWS, 2, "ok All 2 checks agree"), (ROWS, 3, "INCOMPLETE"), (ROWS, None, "INCOMPLETE"), ([], 1, "INCOMPLETE")],
)
def test_only_a_whole_run_is_ok(found, planned, word):
    text = words(page.as_html(found, planned))
    assert f"jaxconv verify {word}" in text


def test_the_worst_is_drawn_and_the_wrong_before_it():
    drawn = lambda found: re.findall(r'<figcaption><strong>convolution: <a href="#check-(\d)"', page.as_html(found, 9))  # noqa: E731
    assert drawn(rows()) == ["6"]
    assert drawn([row for row in rows() if row.passed]) == ["2"]


def test_the_picture_read_back_is_the_array():
    distance = np.random.default_rng(1).choice([0.01, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0, np.inf], (4, 6))
    svg = picture.heat_map(Heat("y", (4, 6), 1, distance))
    seen = np.full(distance.shape, -1)
    for shade, x, y, width in re.findall(r'level-(\d)" x="(\d+)" y="(\d+)" width="(\d+)"', svg):
        seen[int(y) // 10, int(x) // 10 : (int(x) + int(width)) // 10] = int(shade)
    assert np.array_equal(seen, [[picture.level(each) for each in line] for line in distance])
    mark = re.search(r'"mark" x="(\d+)" y="(\d+)"', svg)
    assert distance[int(mark[2]) // 10, int(mark[1]) // 10] == distance.max()


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5, 9, 9), (200, 2, 8), (16, 8, 1024), (7, 1, 100)])
def test_no_error_is_lost_in_a_smaller_picture(shape):
    distance = np.random.default_rng(2).uniform(size=shape)
    heat = Heat.of("y", distance)
    rows, columns = heat.cells.shape
    assert rows <= HEIGHT
    assert columns <= COLUMNS
    assert heat.cells.max() == distance.max()
    assert np.isin(heat.cells, distance).all()
    # Whatever single element is off, some cell shows it.
    at = np.unravel_index(distance.size // 3, shape)
    distance[at] = 9
    assert (Heat.of("y", distance).cells == 9).sum() == 1


# ------------------------------------------------------------------------------------------------- the command


def test_html_and_json_together(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "tasks", lambda quick: fake(rows()))
    html, as_json = tmp_path / "out.html", tmp_path / "out.json"
    assert cli.main(["verify", "--html", str(html), "--json", str(as_json)]) == 1
    assert sorted(os.listdir(tmp_path)) == ["out.html", "out.json"]
    assert json.loads(as_json.read_text())["rows"][5]["units"] == "inf"
    Tree(html.read_text(encoding="utf-8"))


def test_exit_status_is_that_of_the_run(monkeypatch, tmp_path):
    for stop, status in ((False, 0), (True, 130)):
        monkeypatch.setattr(run, "tasks", lambda quick, stop=stop: fake(ROWS, stop=stop))
        assert cli.main(["verify", "--html", str(tmp_path / "out.html")]) == status


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--html", "."], "--html must name a file in a folder that exists; got the folder"),
        (["--html", "none/out.html"], "--html must name a file in a folder that exists; got none/out.html, and there"),
        (["--html", "out", "--json", "shut/../out"], "--json and --html must name two files; got shut/../out for both"),
        (["--json", "out.json", "--html", "shut/out.html"], "--html must name a file in a folder"),
    ],
)
def test_a_wrong_path_is_said_before_the_work(arguments, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "tasks", lambda quick: pytest.fail("worked in vain"))
    Path("shut").mkdir()
    access = os.access  # for root every folder is open
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "shut" and access(path, mode))
    assert cli.main(["verify", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert os.listdir() == ["shut"]


def test_a_full_disk_is_said_and_the_other_file_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, "tasks", lambda quick: fake(ROWS))
    whole = output.write_whole

    def full(path: Path, text: str) -> None:
        if path.suffix == ".json":
            raise OSError(28, "No space left on device")
        whole(path, text)

    monkeypatch.setattr(output, "write_whole", full)
    arguments = ["verify", "--json", str(tmp_path / "out.json"), "--html", str(tmp_path / "out.html")]
    assert cli.main(arguments) == 2
    assert "--json could not be written: [Errno 28] No space left on device" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["out.html"]
    assert stat.S_IMODE((tmp_path / "out.html").stat().st_mode) & stat.S_IRUSR


# ------------------------------------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    yield from browser.tab(tmp_path_factory.mktemp("browser"), page.as_html(rows(), 7))


@pytest.fixture
def opened(tab):
    yield from browser.opened(tab)


def names(tab) -> list[str]:
    """The convolutions in the order in which they stand."""
    return tab.do(
        "[...document.querySelectorAll('table.sorts')[1].tBodies[0].rows].map(r => r.cells[1].firstChild.data)"
    )


def click(tab, heading: str) -> str:
    """Click a heading of the convolutions as a person would; returns its aria-sort."""
    heads = "[...document.querySelectorAll('table.sorts')[1].tHead.rows[0].cells]"
    head = f"{heads}.find(head => head.innerText.startsWith({heading!r}))"
    tab.do(f"{head}.firstChild.scrollIntoView()")
    at = tab.do(f"{head}.firstChild.getBoundingClientRect().toJSON()")
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=at["x"] + 3, y=at["y"] + 3, button="left", clickCount=1)
    return tab.do(f"{head}.getAttribute('aria-sort')")


@pytest.mark.slow
def test_loads_without_a_complaint_and_nothing_from_outside_runs(opened):
    assert opened.do("document.title") == "jaxconv verify: DISAGREES"
    assert opened.do("document.scripts.length") == 1
    assert opened.do("document.querySelectorAll('.heat').length") == 1


@pytest.mark.slow
def test_a_click_sorts_numbers_and_what_has_none_stands_last(opened):
    assert names(opened) == ["ten", "nothing", "two", "inf"]
    assert click(opened, "units") == "ascending"
    assert names(opened) == ["two", "ten", "inf", "nothing"]
    assert click(opened, "units") == "descending"
    assert names(opened) == ["inf", "ten", "two", "nothing"]
    assert click(opened, "hand ms") == "ascending"
    assert names(opened) == ["ten", "inf", "two", "nothing"], "1, 2, 10: as numbers, not as text"
    assert opened.do("document.querySelectorAll('[aria-sort]').length") == 1
    assert click(opened, "check") == "ascending"
    assert names(opened) == ["inf", "nothing", "ten", "two"]


@pytest.mark.slow
def test_the_keyboard_sorts(opened):
    opened.do("document.querySelectorAll('table.sorts')[1].tHead.querySelector('button').focus()")
    for key, code, text in (("Tab", 9, ""), ("Enter", 13, "\r")):
        opened.press(key, code, text)
    assert opened.do("document.activeElement.innerText").startswith("check")
    assert names(opened) == ["inf", "nothing", "ten", "two"]
    opened.press(" ", 32, " ")
    assert names(opened) == ["two", "ten", "nothing", "inf"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 360])
def test_a_phone_shows_it_without_sideways_scrolling(opened, width):
    opened.show(width=width, height=640)
    assert opened.do("innerWidth") == width
    assert opened.do("document.documentElement.scrollWidth") == width
    assert opened.do("document.querySelector('.verdict').getBoundingClientRect().bottom") < 640
    wide = "[...document.querySelectorAll('.scroll')].some(box => box.scrollWidth > box.clientWidth)"
    assert opened.do(wide), "a wide table scrolls in its own box"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(opened, scheme):
    opened.show(scheme=scheme)
    ground = luminance(opened.do("getComputedStyle(document.body).backgroundColor"))
    assert (ground < 0.1) == (scheme == "dark")
    for selector in ("body", "dt", ".verdict strong", ".note", "td.right", "td.wrong", "td small"):
        text = luminance(opened.do(f"getComputedStyle(document.querySelector({selector!r})).color"))
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5, selector


@pytest.mark.slow
def test_paper_is_white_and_whole(opened):
    opened.show(scheme="dark", media="print")
    assert opened.do("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.do("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    opened.show(width=700, media="print")  # as wide as a sheet
    assert opened.do("document.documentElement.scrollWidth") == 700
    assert len(re.findall(rb"/Type\s*/Page\b", opened.pdf())) in (1, 2)
