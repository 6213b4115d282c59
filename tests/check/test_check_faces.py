"""The faces of `check_vjp`: its page and picture, the command, the helper for tests, the smallest failing case."""

import io
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import browser
import jaxconv
from jaxconv import assert_vjp, check_vjp, cli, smallest_failure
from jaxconv.accuracy.error_model import C
from jaxconv.check.faces import smallest
from jaxconv.check.faces.page import html
from jaxconv.check.faces.picture import plot
from jaxconv.check.faces.report import TransformRow, VjpReport, VjpRow
from jaxconv.check.faces.smallest import _code
from jaxconv.terminal import progress
from pages import EVIL, Tree, luminance


def row(name="args[0]", units=None, passed=False, expected=True, **given):
    units = np.full((3, 4), 0.5) if units is None else units
    index = tuple(int(k) for k in np.unravel_index(np.argmax(units), units.shape)) if units.size else None
    got = np.arange(float(units.size)).reshape(units.shape)
    fields = {"verdict": "right" if passed else "one element", "units": float(units.max(initial=0)), "index": index,
              "wrong": int((units > C).sum()), "size": units.size, "units_array": units}  # fmt: skip
    if expected and units.size:
        fields |= {"got": 1.5, "expected": 1.25, "difference": 0.25, "got_array": got, "expected_array": got + 0.25}
    return VjpRow(name, units.shape, "float32", passed, **(fields | given))


def report():
    spoilt = np.where(np.arange(12).reshape(3, 4) == 7, np.inf, 0.5)
    return VjpReport(
        EVIL,
        (row(EVIL, spoilt, pattern=EVIL, cause="algebra", method=EVIL), row("args[1]", passed=True)),
        (TransformRow("jit", True), TransformRow(EVIL, False, EVIL)),
        (EVIL,),
    )


@pytest.fixture
def pyplot():
    plt = pytest.importorskip("matplotlib.pyplot")
    yield plt
    plt.close("all")


# ---------------------------------------------------------------------------------------------- the page


def test_what_comes_from_outside_is_text():
    tree = Tree(html(report()))
    assert not tree.all("script")
    assert not tree.all("img")
    assert not [name for _, attributes in tree.elements for name in attributes if name.startswith("on")]
    for tag, least in (("td", 5), ("li", 1), ("strong", 1), ("span", 1)):
        assert len([text for at, text in tree.texts if at == tag and EVIL in text]) >= least, tag


def test_its_style_stays_in_its_box():
    (style,) = [text for tag, text in Tree(html(report())).texts if tag == "style"]
    selectors = re.findall(r"^\s*([^@\s{}][^{}]*?) \{", style, re.MULTILINE)
    assert len(selectors) > 40
    for selector in selectors:
        assert all(each.strip().startswith(".jaxconv-check") for each in selector.split(",")), selector
    assert not re.search(r"@import|url\((?!#)", style)


def test_the_page_says_what_the_report_says():
    text = html(
        VjpReport("f", (row(units=np.where(np.eye(3, 4) * 0 + np.arange(4) == 2, 80.0, 1), pattern="a slice"),))
    )
    tree = Tree(text)
    cells = [data for tag, data in tree.texts if tag == "td"]
    assert {"WRONG", "a slice", "args[0][0, 2]", "1.5", "1.25", "3 of 12", "80 (≤ 3)"} <= set(cells)
    assert text.count('class="heat"') == 1
    assert 'class="level-6"' in text
    right = html(VjpReport("f", (row(passed=True),)))
    assert ">right<" in right
    assert "WRONG" not in right


@pytest.mark.parametrize("units", [np.zeros((0, 3)), np.array(7.0), np.full((2, 3, 4, 5), np.nan), np.ones(5000)])
def test_any_array_has_a_page_and_a_picture(units, pyplot):
    for expected in (True, False):
        one = VjpReport("f", (row(units=units, expected=expected), row("args[1]", units, units_array=None)))
        Tree(html(one))
        plot(one).savefig(os.devnull, format="png")


def test_nothing_to_say_is_a_page_too(pyplot):
    empty = VjpReport("f", (), faults=("args[0]: no input can be differentiated",))
    assert "no input can be differentiated" in html(empty)
    plot(empty).savefig(os.devnull, format="png")


def test_the_notebook_shows_the_page():
    assert report()._repr_html_() == html(report())


def test_the_picture_shows_the_wrong_element(pyplot):
    figure = plot(
        VjpReport("f", (row(passed=True), row("args[1]", np.where(np.arange(12).reshape(3, 4) == 7, 9, 1.0))))
    )
    axes = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in axes[:2]] == ["the rule gave: args[1]", "right: args[1]"]
    shown = np.asarray(axes[2].images[0].get_array())
    assert np.allclose(shown, np.log10(np.where(np.arange(12).reshape(3, 4) == 7, 9, 1.0) / C))
    assert axes[2].texts[0].get_text() == "args[1][1, 3]"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    # A notebook's own text stands around it, which the style must not touch.
    text = '<!DOCTYPE html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    text += f'<title>n</title><p id="own">own</p>{html(report())}'
    yield from browser.tab(tmp_path_factory.mktemp("browser"), text)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_and_leaves_the_rest_alone(tab, scheme):
    tab.show(scheme=scheme, width=360)
    tab.open(tab.page)
    assert tab.do("document.title") == "n"
    ground = luminance(tab.do("getComputedStyle(document.querySelector('.jaxconv-check')).backgroundColor"))
    assert (ground < 0.1) == (scheme == "dark")
    for selector in (".jaxconv-check", "td.right", "td.wrong", "li.wrong", ".note"):
        text = luminance(tab.do(f"getComputedStyle(document.querySelector({selector!r})).color"))
        assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5, selector
    assert tab.do("getComputedStyle(document.getElementById('own')).fontFamily") != tab.do(
        "getComputedStyle(document.querySelector('.jaxconv-check')).fontFamily"
    )
    assert tab.do("getComputedStyle(document.querySelector('.heat .level-7')).fill").startswith("url(")
    assert tab.do("document.documentElement.scrollWidth") == 360
    assert tab.errors == []


# ---------------------------------------------------------------------------------------------- rules to try it on


@jax.custom_vjp
def slow(x, w):
    return jnp.sin(x) @ w


slow.defvjp(lambda x, w: (jnp.sin(x) @ w, (x, w)), lambda kept, g: (jnp.cos(kept[0]) * (g @ kept[1].T),
                                                                   jnp.sin(kept[0]).T @ g))  # fmt: skip


@jax.custom_vjp
def wrong(x, w):
    return jnp.sin(x) @ w


wrong.defvjp(lambda x, w: (jnp.sin(x) @ w, (x, w)), lambda kept, g: (jnp.cos(kept[0]) * (g @ kept[1].T),
                                                                    1.01 * (jnp.sin(kept[0]).T @ g)))  # fmt: skip


def plain(x, w):
    return jnp.sin(x) @ w


X, W = jnp.linspace(-1, 1, 12).reshape(3, 4), jnp.linspace(0.1, 2, 8).reshape(4, 2)


# ---------------------------------------------------------------------------------------------- progress


def test_progress_is_told_and_silent_by_default(capsys):
    told = []
    check_vjp(slow, X, W, progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert all(done <= total for done, total, _ in told)
    assert {"the rule in float64", "JAX's derivative", "grad of grad"} <= {what for _, _, what in told}
    assert len(told) > 20
    assert told[-1][0] >= 0.6 * told[-1][1], "the estimate is of use"
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    with pytest.raises(TypeError, match="`progress` must be True, False, None or a function"):
        check_vjp(slow, X, W, progress="yes")


def test_the_line_of_a_long_check_goes_away(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    check_vjp(slow, X, W, transforms=False, progress=True)
    said = capsys.readouterr().err
    assert "check_vjp of slow: 0 of " in said
    last = said.rsplit("\r", 2)
    assert last[-1] == ""
    assert not last[-2].strip(), "written over with blanks"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    check_vjp(slow, X, W, transforms=False)
    assert "check_vjp of slow" in capsys.readouterr().err, "on a terminal it shows by itself"
    monkeypatch.setattr(progress, "DELAY", 1e9)
    check_vjp(slow, X, W, transforms=False, progress=True)
    assert capsys.readouterr().err == "", "a short check shows nothing"


# ---------------------------------------------------------------------------------------------- in a test


def test_assert_vjp_returns_the_report_or_raises_it():
    assert assert_vjp(slow, X, W, transforms=False).passed
    with pytest.raises(AssertionError, match=r"factor") as caught:
        assert_vjp(wrong, X, W, reference=plain, transforms=False)
    assert "args[1]" in str(caught.value)
    with pytest.raises(TypeError):
        assert_vjp(slow, X, W, no_such_option=1)


def shapes(n, m, k):
    return (n, m), (m, k)


def test_the_smallest_failure_is_small_and_fails_as_pasted():
    found = smallest_failure(wrong, shapes, plain, seconds=300)
    assert [arg.shape for arg in found.args] == [(1, 1), (1, 1)]
    assert not found.report.passed
    with pytest.raises(AssertionError, match=r"args\[1\]"):
        exec(found, {})


def test_a_strategy_draws_whatever_the_function_takes():
    from hypothesis import strategies as st

    spoilt = jax.custom_vjp(lambda params, n: params["w"] ** n)
    spoilt.defvjp(lambda params, n: (params["w"] ** n, (params, n)),
                  lambda kept, g: ({"w": jnp.where(kept[0]["w"] > 3, 5 * g, g)}, None))  # fmt: skip
    draw = st.integers(0, 9).map(lambda k: ({"w": jnp.asarray([float(k)])}, jnp.asarray(1)))
    found = smallest_failure(spoilt, draw, seconds=300)
    assert float(found.args[0]["w"][0]) == 4, "of all that fail the first"
    with pytest.raises(AssertionError):
        exec(found, {"f": spoilt})


@pytest.mark.slow
def test_a_right_rule_has_no_failure():
    for two in (2, np.int64(2), jnp.int32(2)):
        assert smallest_failure(slow, shapes, examples=two) is None


def test_bad_calls_of_smallest_failure(monkeypatch):
    with pytest.raises(TypeError, match="`draw` must be a Hypothesis strategy or a function of sizes"):
        smallest_failure(slow, 3)
    with pytest.raises(TypeError, match="`draw` must return a tuple of shapes"):
        smallest_failure(slow, lambda n: n)
    with pytest.raises(ValueError, match=r"must make arguments that f takes.*dot_general"):
        smallest_failure(slow, lambda n: ((n, n + 1), (n, n)), examples=3)
    with pytest.raises(ValueError, match="`examples` must be at least 1"):
        smallest_failure(slow, shapes, examples=0)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match=r"needs hypothesis; pip install 'jaxconv\[check\]'"):
        smallest_failure(slow, shapes)


@pytest.mark.parametrize(
    "value",
    [
        (),
        ({"a": [1, None, 2.5]},),
        (np.float32([np.nan, -np.inf, 0.1]), np.zeros((0, 2), np.int32), np.complex64([1 + 2j])),
        (jnp.asarray([0.1, 3], jnp.bfloat16), jaxconv.GatedParams(jnp.ones((1, 2)), None, jnp.ones((1, 2)))),
    ],
    ids=str,
)
def test_code_makes_the_value_again(value):
    imports = {"import jax.numpy as jnp"}
    code = _code(value, imports)
    space: dict = {}
    exec("\n".join(sorted(imports)), space)
    again = eval(code, space)
    assert jax.tree.structure(again) == jax.tree.structure(value)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(value), strict=True):
        assert np.shape(a) == np.shape(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.array_equal(a, b, equal_nan=True)


# ---------------------------------------------------------------------------------------------- the command

MODULE = """
import jax, jax.numpy as jnp
from functools import partial

def reference(x):
    return jnp.sin(x)

def rule(factor):
    f = jax.custom_vjp(reference)
    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (factor * g * jnp.cos(x),))
    return f

right, wrong, number = rule(1.0), rule(1.01), 3

def make():
    return (jnp.linspace(0.0, 1.0, 7),)

def make_array():
    return jnp.ones(3)

def make_two():
    return jnp.ones(3), jnp.ones(3)

def make_fault():
    raise KeyError("no data")

def make_exit():
    raise SystemExit(3)

class Guarded:
    def __getattr__(self, name):
        raise RuntimeError("not yet")

guarded = Guarded()
"""


@pytest.fixture
def rules(tmp_path, monkeypatch):
    """A package of one module in the current folder."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "rules.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import no_such_thing")
    (tmp_path / "leaves.py").write_text("raise SystemExit(5)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("mine", "broken", "leaves")]:
        del sys.modules[name]


def run(*arguments):
    return cli.main(["check", *arguments, "--no-transforms"])


def test_exit_status_and_json_say_right_or_wrong(rules, capsys):
    assert run("mine.rules:right", "--args", "mine.rules:make", "--reference", "mine.rules:reference") == 0
    assert "right" in capsys.readouterr().out
    assert run("mine.rules:wrong", "--args", "mine.rules:make", "--json", "out.json", "--directions", "3") == 1
    said = capsys.readouterr().out
    assert "WRONG" in said
    assert "args[0]" in said
    written = json.loads((rules / "out.json").read_text(encoding="utf-8"))
    assert written["passed"] is False
    (row,) = written["rows"]
    assert row["shape"] == [7]
    assert row["got"] == pytest.approx(1.01 * row["expected"])
    assert "got_array" not in row


@pytest.mark.parametrize(
    ("function", "make", "said"),
    [
        ("mine.rules", "mine.rules:make", "function must be written package.module:name; got 'mine.rules'"),
        ("no_such.rules:f", "mine.rules:make", "function: there is no module 'no_such'"),
        ("mine.no_such:f", "mine.rules:make", "function: there is no module 'mine.no_such'"),
        ("broken:f", "mine.rules:make", "function: the module 'broken' could not be imported: No module named"),
        ("mine.rules:none", "mine.rules:make", "function: the module 'mine.rules' has no attribute 'none'"),
        ("mine.rules:number", "mine.rules:make", "function: 'mine.rules:number' must be callable; got int"),
        ("mine.rules:right", "mine.rules:none", "--args: the module 'mine.rules' has no attribute 'none'"),
        ("mine.rules:right", "mine.rules:make_array", "--args: mine.rules:make_array() must return a tuple"),
        ("mine.rules:right", "mine.rules:make_fault", "--args: mine.rules:make_fault() raised KeyError: 'no data'"),
        ("mine.rules:right", "mine.rules:make_exit", "--args: mine.rules:make_exit() raised SystemExit: 3\n"),
        ("mine.rules:make_exit", "mine.rules:nothing", "--args: the module 'mine.rules' has no attribute 'nothing'"),
        ("leaves:f", "mine.rules:make", "function: the module 'leaves' could not be imported: SystemExit: 5\n"),
        (
            "mine.rules:guarded.f",
            "mine.rules:make",
            "function: 'mine.rules:guarded.f' could not be had: RuntimeError: not",
        ),
        (
            "mine.rules:right",
            "mine.rules:make_two",
            "mine.rules:right does not take the arguments of mine.rules:make_two: TypeError",
        ),
    ],
)
def test_a_bad_call_is_named(rules, function, make, said, capsys):
    assert run(function, "--args", make) == 2
    assert f"jaxconv check: {said}" in capsys.readouterr().err


def test_a_terminal_without_the_signs_gets_words(rules, monkeypatch):
    """`print` of a report too; what is no sign stays, what the encoding lacks is escaped."""
    plain = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(plain, "cp1252"))
    assert run("mine.rules:wrong", "--args", "mine.rules:make") == 1
    print(VjpReport("größe\u0434", (row(),)))
    sys.stdout.flush()
    said = plain.getvalue().decode("cp1252")
    assert "| WRONG | args[0] float32[7] |" in said
    assert "check_vjp of größe\\u0434: WRONG" in said
    assert "units of the error model (right: <= 3)" in said


def test_the_file_is_there_though_the_disk_is_full(rules, monkeypatch, capsys):
    arguments = ("mine.rules:right", "--args", "mine.rules:make", "--json", "out.json")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run(*arguments) == 2
    assert capsys.readouterr().err == "jaxconv check: the output could not be written: No space left on device\n"
    assert json.loads((rules / "out.json").read_text(encoding="utf-8"))["passed"]


def test_neither_the_checker_nor_the_bench_needs_what_trains():
    code = "import sys; sys.modules |= dict.fromkeys(('optax', 'sklearn'))\n"
    code += "import jaxconv.check.faces.command, jaxconv.bench.command, jaxconv.check.faces.picture"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_bad_calls(rules, capsys):
    good = ("mine.rules:right", "--args", "mine.rules:make")
    assert run(*good, "--reference", "mine.rules:number") == 2
    assert "--reference: 'mine.rules:number' must be callable" in capsys.readouterr().err
    assert run(*good, "--json", "none/out.json") == 2
    assert "--json must name a file in a folder that exists" in capsys.readouterr().err
    assert run(*good, "--directions", "0") == 2
    assert "directions" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check", "mine.rules:right"])
    assert stopped.value.code == 2


def test_the_command_as_people_call_it(rules):
    command = [sys.executable, "-m", "jaxconv", "check", "mine.rules:wrong", "--args", "mine.rules:make"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=rules, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "factor" in done.stdout


def test_a_search_that_ran_out_of_time_says_so(monkeypatch):
    def made():
        rule = jax.custom_vjp(lambda x: 2 * x)
        rule.defvjp(lambda x: (2 * x, None), lambda _, g: (3 * g,))
        return rule

    moments = iter([0.0, 1.0, 1.0])  # begun, two examples looked at, and then the time is up
    monkeypatch.setattr(smallest, "time", SimpleNamespace(monotonic=lambda: next(moments, 1e9)))
    text = smallest_failure(made(), lambda n: ((n,),), seconds=9.0)
    assert text.startswith("# stopped after 9 s: there may be a smaller one\n")
    assert "# f: the function that was checked" in text
