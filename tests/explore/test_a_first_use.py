"""What stopped people who used the page of `jaxconv explore` for the first time, each as a test."""

from __future__ import annotations

import json

import jax.numpy as jnp
import pytest

from explorer import go
from jaxconv.explore.page import LIMITS
from pages import luminance


def text(tab, name: str) -> str:
    return tab.do(f"document.getElementById({name!r}).textContent")


def typed(tab, label: str, words: str) -> None:
    """Into the field of that name, which is selected first; without Enter or Tab."""
    tab.do(f"(field => (field.focus(), field.select()))(document.querySelector('[aria-label={json.dumps(label)}]'))")
    tab.call("Input.insertText", text=words)


def left(tab) -> None:
    tab.do("document.activeElement.dispatchEvent(new Event('change'))")


NOTE = "document.activeElement.closest('.field').querySelector('.limit').textContent"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "label", "key"),
    [
        ("n=9&k=3&p=1", "pad before, axis 0", "page.state.lo[0]"),
        ("view=stack&n=9&layers=k3", "layer 1, before", "page.state.layers[0].lo"),
    ],
)
def test_a_number_counts_as_soon_as_it_is_typed(opened, address, label, key):
    go(opened, address)
    typed(opened, label, "2")
    assert opened.do(key) == 2
    opened.call("Input.insertText", text="3")  # the field has kept the focus, and the caret its place
    assert opened.do(key) == 23
    assert f"p{23}:" in opened.do("location.hash") or "p=23:" in opened.do("location.hash")


@pytest.mark.slow
@pytest.mark.parametrize(("words", "note", "kept"), [("99", "at most 8", 8), ("-3", "at least 1", 1)])
def test_what_is_beyond_a_limit_is_said(opened, words, note, kept):
    go(opened, "n=9&k=3&s=2")
    typed(opened, "stride, axis 0", words)
    assert opened.do("page.state.s[0]") == 2
    left(opened)
    assert opened.do(f"[page.state.s[0], {NOTE}]") == [kept, note]
    typed(opened, "stride, axis 0", "3")
    assert opened.do(f"[page.state.s[0], {NOTE}]") == [3, ""]


@pytest.mark.slow
@pytest.mark.parametrize("words", ["V", "2.5", "1e3"])
def test_what_is_no_number_is_said_until_the_field_is_left(opened, words):
    go(opened, "n=9&k=3&s=2")
    below = "document.querySelector('[aria-label=\"dilation, axis 0\"]').getBoundingClientRect().top"
    before = opened.do(below)
    typed(opened, "stride, axis 0", words)
    told = f"[page.state.s[0], {NOTE}, document.activeElement.getAttribute('aria-invalid'), {below}]"
    assert opened.do(told) == [2, "a whole number", "true", before]
    left(opened)
    assert opened.do(told) == [2, "", "false", before]
    assert opened.do("document.activeElement.value") == "2"


@pytest.mark.slow
def test_padding_by_name_is_shown_where_nothing_fits(opened):
    go(opened, "n=5&k=7&d=2&p=1")
    opened.do("page.set({ pad: 'VALID' })")
    fields = "['before', 'after'].map(end => document.querySelector(`[aria-label=\"pad ${end}, axis 0\"]`).value)"
    assert "padding=(0, 0)" in opened.do("page.geometry.error")
    assert opened.do(fields) == ["0", "0"]


@pytest.mark.slow
def test_every_line_names_its_tap(opened):
    go(opened, "n=9&k=3&s=2&p=1&at=2")
    opened.do("page.picture.probe(page.picture.ground, [0, 4])")
    assert opened.do("[...document.querySelectorAll('.taps text')].map(each => each.textContent)") == ["2", "0"]
    assert float(opened.do("getComputedStyle(document.querySelector('.comb')).opacity")) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("address", ["n=32&k=12&p=8", "view=stack&n=32&layers=k3p1,k3p1,k3p1,k3p1"])
def test_the_window_stays_in_sight(opened, address, width):
    opened.show(width=width)
    go(opened, address)
    seen = """(() => {
      const { picture } = page;
      const place = document.getElementById("scroll").getBoundingClientRect();
      const element = picture.result.box.ownerSVGElement;
      const [x] = picture.result.center(picture.result.cells.now?.[0] ?? [0, picture.at]);
      const at = new DOMPoint(x, 0).matrixTransform(element.getScreenCTM()).x;
      return place.left <= at && at <= place.right;
    })()"""
    for at in ("0", "page.picture.count - 1", "0"):
        opened.do(f"page.go({at}, 0)")
        assert opened.do(seen), at


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("n=9&k=3&s=2&p=1", "y[0] = w[1]·x[0] + w[2]·x[1] + 1 zero from the padding"),
        ("n=2&k=1&s=2&p=2", "y[0] = 0: padding alone"),
        ("n=5&k=2&s=3&view=dx&at=2", "dx[2] = 0: no window reads it"),
        ("n=9&k=3&s=2&p=1&view=dx", "dx[0] = w[1]·g[0] + 2 zeros from stride and padding"),
        ("n=3x3&k=3x3&p=1x1&view=dw", "dw[0,0] = g[1,1]·x[0,0] + g[1,2]·x[0,1] + g[2,1]·x[1,0] + g[2,2]·x[1,1] + 5"),
        (
            "view=stack&n=5&layers=k3p1,k3p1",
            "y[0] has the receptive field x[−2 … 2], 5 positions, of which x[0 … 2] exist",
        ),
    ],
)
def test_the_sum_names_its_terms_before_its_zeros(opened, address, said):
    go(opened, address)
    assert text(opened, "readout").startswith(said)
    assert (" = 0:" in said) <= (text(opened, "readout") == said)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_tap_upon_a_zero_can_be_read(opened, scheme):
    opened.show(scheme=scheme)
    go(opened, "n=9&k=3&p=1")
    number, ground = (
        luminance(opened.do(f"getComputedStyle(document.querySelector({selector!r})).fill"))
        for selector in (".comb .number.on-void", ".comb .void")
    )
    assert (max(number, ground) + 0.05) / (min(number, ground) + 0.05) >= 4.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("n=9&k=3&c=8&f=8&g=3", "groups, channels in, channels out"),
        ("n=4&k=3&d=2", "size, kernel, dilation, padding; the padding to raise is lo + hi together"),
    ],
)
def test_an_error_names_the_fields_to_change(opened, address, fields):
    go(opened, address)
    assert text(opened, "error").endswith(f"Fields that may change this: {fields}.")
    assert "fit" not in opened.do("document.querySelector('#error strong').textContent")


@pytest.mark.slow
@pytest.mark.parametrize("view", ["y", "dx", "dw"])
@pytest.mark.parametrize("library", ["jaxconv", "lax", "flax", "PyTorch"])
def test_no_line_of_code_is_cut_off(opened, library, view):
    for address in ("n=9&k=3&s=2&p=1", "n=32x32&k=12x11&s=2x3&d=1x2&p=1:2x0&c=64&f=64&g=32"):
        go(opened, f"{address}&view={view}&code={library}")
        assert opened.do("(pre => pre.scrollWidth <= pre.clientWidth)(document.querySelector('#codes pre'))"), address


@pytest.mark.slow
def test_the_recurrence_says_its_rule_and_its_code_runs(opened):
    scale = "document.getElementById('slide-scale')"
    go(opened, "tab=recurrence&bias=-2.5")
    opened.do(f"{scale}.value = {scale}.max, {scale}.dispatchEvent(new Event('input'))")
    assert opened.do("page.state.scale") == LIMITS["scale"][1]
    assert "recurrence" in opened.do("document.querySelector('h1').textContent")
    assert "1/e" in opened.do("document.querySelector('.flow-words').textContent")
    assert len(opened.do("[...document.querySelectorAll('.rule.limit')].map(each => 1)")) == 2
    names: dict = {}
    exec(text(opened, "flow-code"), names)
    assert names["norms"].shape == (61,)
    assert bool(jnp.isfinite(names["norms"]).all())


@pytest.mark.slow
def test_one_form_for_large_and_small_numbers(opened):
    words = opened.do("[0, 1, -20, 20, -7].map(tens => powerWords(tens * Math.LN10))")
    assert words == ["1", "10", "1.00·10⁻²⁰", "1.00·10²⁰", "1.00·10⁻⁷"]


@pytest.mark.slow
def test_a_step_is_in_the_address_at_once(opened):
    go(opened, "n=9&k=3&s=2&p=1")
    assert opened.do("(document.getElementById('forth').click(), location.hash)").endswith("at=1")


@pytest.mark.slow
@pytest.mark.parametrize("address", ["n=9&k=3&s=2&p=1", "tab=recurrence&scale=12"])
def test_paper_has_the_address_and_no_controls(opened, address):
    opened.show(media="print")
    go(opened, address)
    opened.pdf()
    assert text(opened, "address").split("#")[1] == opened.do("addressOf(page.state)")
    shown = "[...document.querySelectorAll('button, input, select')].some(each => each.getClientRects().length)"
    assert opened.do(shown) is False


@pytest.mark.slow
def test_a_finger_taps_and_a_keyboard_sees_one_frame(opened):
    opened.call("Emulation.setTouchEmulationEnabled", enabled=True)
    go(opened, "n=9&k=3")
    assert opened.do("document.querySelector('.hint').textContent").startswith("tap a cell")
    opened.call("Emulation.setTouchEmulationEnabled", enabled=False)
    frames = "[...document.querySelectorAll('.focus')].filter(each => getComputedStyle(each).display !== 'none').length"
    assert opened.do(frames) == 0
    opened.press("Tab", 9)
    opened.do("page.picture.ground.box.focus()")
    assert opened.do(frames) == 1


@pytest.mark.slow
def test_the_size_of_a_transposed_gradient_names_its_kernel(opened):
    go(opened, "n=5&k=4&s=3&d=1&p=2&t=1&view=dw")
    said = "x as the kernel covers s(m − 1) + 1 = 13 of the 16 positions read; it moves by d: (16 − 13)/1 + 1 = 4"
    assert said in text(opened, "formula")
    go(opened, "n=9&k=3&s=2&p=1&view=dw")
    assert "g as the kernel covers s(m − 1) + 1 = 9 of the 11 positions" in text(opened, "formula")


@pytest.mark.slow
def test_what_does_not_fit_has_its_formula_and_its_legend(opened):
    go(opened, "n=9&k=6&d=3&s=2")
    assert "(9 − 16)/2⌋ + 1= ⌊(−7)/2⌋ + 1 = −3" in text(opened, "formula")
    assert "d(k − 1) + 1 = 16 positions; there are n + lo + hi = 9." in text(opened, "formula")
    assert text(opened, "legend") == "red: outside"
    go(opened, "n=9&k=3")
    assert "red" not in text(opened, "legend")


@pytest.mark.slow
def test_the_address_is_what_is_shown_and_what_it_cannot_be_is_said(opened):
    for address, asked in {
        "n=abc&s=99&p=SAMEE": "n=abc, s=99, p=SAMEE", "tab=recurrence&scale=0.5&bias=99": "bias=99", "n=%": "n=%",
        "n=9x8&k=3&s=2&p=1:2x0&code=lax": "", "view=none": "view=none", "tab=recurrence&scale=12&bias=-2.5": "",
    }.items():  # fmt: skip
        opened.do(f"location.hash = {json.dumps(address)}, dispatchEvent(new Event('hashchange'))")
        assert opened.do("location.hash.slice(1) === addressOf(page.state)"), address
        assert text(opened, "asked") == (asked and f"The address asked for {asked}, which this page cannot show.")
    opened.do("page.set({ tab: 'conv' })")
    assert text(opened, "asked") == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("logs", "before", "within"),
    [
        ([-3, -2, 5, 2, 0], "explode at first, up to 148, then ", "vanish within 3 steps"),
        ([3, 0.5, 2, -2, 0], "vanish at first, down to 0.135, then ", "explode within 4 steps"),
        ([0.5, 2, -3, 0], "vanish at first, down to 0.0498, then ", "hold"),
        ([-3, -0.5, -2, 0], "", "vanish within 3 steps"),
    ],
)
def test_the_verdict_counts_its_own_side_and_says_the_other(opened, logs, before, within):
    assert opened.do(f"[flowBefore({logs}), flowWords({logs})[0]]") == [before, within]
