"""A finger and a mouse upon the picture of `jaxconv explore`: taps, drags, and what is pointed at on two axes."""

from __future__ import annotations

import pytest

from explorer import go


def readout(tab) -> str:
    return tab.do("document.getElementById('readout').textContent")


def place(tab, grid: str, i: int, j: int) -> tuple[float, float]:
    """Where a cell's middle lies on the screen."""
    point = f"new DOMPoint(...picture.{grid}.center([{i}, {j}])).matrixTransform(picture.{grid}.box.getScreenCTM())"
    return tuple(tab.do(f"(({{ picture }}) => (({{ x, y }}) => [x, y])({point}))(page)"))


def touch(tab, *places: tuple[float, float]) -> None:
    """A finger comes down, moves from place to place and goes up."""
    for i, (x, y) in enumerate(places):
        kind = "touchMove" if i else "touchStart"
        tab.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
    tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def tap(tab, at: tuple[float, float]) -> None:
    """With the mouse events that a browser makes of a tap, and the focus that these move."""
    touch(tab, at)
    mouse(tab, ("mousePressed", at), ("mouseReleased", at))


def mouse(tab, *moves: tuple[str, tuple[float, float]]) -> None:
    for kind, (x, y) in moves:
        button = {"button": "left", "buttons": 1, "clickCount": 1} if kind == "mousePressed" else {}
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)


@pytest.fixture
def phone(opened):
    opened.show(width=390, height=800)
    opened.call("Emulation.setTouchEmulationEnabled", enabled=True)
    yield opened
    opened.call("Emulation.setTouchEmulationEnabled", enabled=False)


@pytest.mark.slow
@pytest.mark.parametrize(("address", "last"), [("n=9&k=3&s=2&p=1", 4), ("n=9x9&k=3x3&s=2x2&p=1x1", 4)])
def test_a_finger_drags_the_window(phone, address, last):
    go(phone, address)
    row = 0 if "x" not in address else 1
    (x, y), (end, _) = place(phone, "ground", row, 1), place(phone, "ground", row, 9)
    touch(phone, *[(x + (end - x) * i / 8, y) for i in range(9)])
    assert phone.do("page.state.at") == last


@pytest.mark.slow
def test_every_tap_explains_its_cell(phone):
    go(phone, "n=9&k=3&s=2&p=1")
    for grid, j, said in [
        ("result", 1, "y[1] = "), ("ground", 4, "x[3] goes"), ("result", 2, "y[2] = "), ("ground", 4, "x[3] goes"),
        ("ground", 5, "x[4] goes"), ("result", 2, "y[2] = "),
    ]:  # fmt: skip
        tap(phone, place(phone, grid, 0, j))
        assert readout(phone).startswith(said)


@pytest.mark.slow
def test_a_drag_begins_upon_a_line_that_it_takes_away(opened):
    go(opened, "n=9&k=3&s=2&p=1&at=3")
    mouse(opened, ("mouseMoved", place(opened, "result", 0, 0)))
    box = opened.do("document.querySelector('.taps circle').getBoundingClientRect().toJSON()")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, at, buttons in [("mousePressed", x - 4, 1), ("mouseMoved", x + 4, 1), ("mouseReleased", x + 4, 0)]:
        opened.call("Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left", buttons=buttons, clickCount=1)
    assert opened.do("page.state.at") == 0


@pytest.mark.slow
def test_on_two_axes_the_pointed_cell_alone_has_its_number(opened):
    go(opened, "n=9x9&k=4x4&s=2x2&p=1x1&at=5")
    mouse(opened, ("mouseMoved", place(opened, "ground", 3, 4)))
    shown = """[...document.querySelectorAll('.picture text:not(.tick)')]
      .filter(each => getComputedStyle(each).display !== 'none').map(each => each.textContent)"""
    assert opened.do(shown) == ["2,3"]
    mouse(opened, ("mouseMoved", (1190, 890)))
    assert len(opened.do(shown)) == 4 * 4 + 1
