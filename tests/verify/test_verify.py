"""The main job: it passes where the rules are right, fails where one is wrong, and stops cleanly."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import rich.console

from jaxconv import cli
from jaxconv.accuracy.error_model import C
from jaxconv.accuracy.heat import Heat
from jaxconv.algorithms import choose
from jaxconv.convolution import api
from jaxconv.recurrence import gated_cell, scan
from jaxconv.terminal import output
from jaxconv.terminal.console import Console, progress
from jaxconv.terminal.sigint import sigint_guard
from jaxconv.verify import cases, digits, report, run
from jaxconv.verify.exercises import EXERCISES
from jaxconv.verify.gradients import compare
from jaxconv.verify.run import Row, Task


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.__name__)
def test_exercise(exercise):
    answer = exercise()
    assert answer.title
    assert answer.formula
    assert answer.found


def test_tables_are_as_large_as_promised():
    assert len(cases.CONV_CASES) >= 60
    assert len(cases.GATED_CASES) >= 20
    names = [case.name for case in (*cases.CONV_CASES, *cases.GATED_CASES)]
    assert len(set(names)) == len(names)


def conv_case(name: str) -> cases.ConvCase:
    return next(case for case in cases.CONV_CASES if case.name == name)


@pytest.fixture
def broken(monkeypatch) -> Iterator[pytest.MonkeyPatch]:
    """Rules may be broken in here; what was compiled with them is forgotten afterwards."""
    bodies = choose.lowered, api._conv_body, scan._scan_body
    for body in bodies:
        body.clear_cache()
    yield monkeypatch
    for body in bodies:
        body.clear_cache()


def test_a_right_rule_agrees():
    found = compare(conv_case("2-D 3 × 3"))
    assert found.passed
    assert 0 < found.units <= C
    assert found.elements > 1000


def break_map(broken: pytest.MonkeyPatch, which: str, wrong: Callable) -> None:
    """Put `wrong`, which is given the right map first, in the place of one of the three maps, in all of its forms."""
    for form in choose.ALGORITHMS.values():
        if hasattr(form, which):
            broken.setattr(form, which, partial(wrong, getattr(form, which)))


def test_a_wrong_input_gradient_disagrees(broken):
    break_map(broken, "conv_input_vjp", lambda right, g, w, *rest: right(g, w[..., ::-1], *rest))
    found = compare(conv_case("2-D 3 × 3"))
    assert not found.passed
    assert found.where.startswith(("dx", "second"))


def test_a_gradient_wrong_by_a_tenth_of_a_thousandth_disagrees(broken):
    break_map(broken, "conv_weight_vjp", lambda right, *at: right(*at) * 1.0001)
    assert not compare(conv_case("2-D 3 × 3")).passed


def test_a_wrong_gate_disagrees(broken):
    broken.setattr(gated_cell, "mix", lambda c, h, v: c * h + (1 - c) * v * 1.0001)
    assert not compare(next(case for case in cases.GATED_CASES if case.name == "no batch")).passed


def test_training_agrees_and_learns():
    model = digits.MODELS[1]
    *steps, outcome = digits.train(model, digits.load(), epochs=2)
    assert len(steps) == digits.steps(digits.load(), 2)
    assert outcome.units <= C
    assert outcome.curves.hand[-1] < 0.7 * outcome.curves.hand[0]
    assert outcome.accuracy_hand > 0.3


@pytest.mark.slow
def test_training_with_a_model_off_by_a_thousandth_disagrees():
    model = digits.MODELS[1]
    hand_is_wrong = {"hand": 1e-3, "jax": 0.0}
    logits = lambda p, x, kind: model.logits(p, x, kind) * (1 + hand_is_wrong[kind])  # noqa: E731
    wrong = digits.Model(model.name, model.init, logits, model.learning_rate, 1, 1, 0.0)
    *_, outcome = digits.train(wrong, digits.load(), epochs=1)
    assert not outcome.passed
    assert "loss curves" in outcome.failures[0]
    assert outcome.heat.cells.max() == outcome.units


ROWS = [
    Row("exercise", "1. sizes", "cpu", True, detail="4 × 5"),
    Row("convolution", "3 × 3", "cpu", True, 0.5, 0.25, "dw[0]", 1.0, 2.0),
]


def fake(rows: list[Row], stop: bool = False) -> list[Task]:
    def work(row: Row) -> Iterator[Row]:
        if stop and row is rows[-1]:
            raise KeyboardInterrupt
        yield row

    return [Task(row.part, row.name, row.platform, 1, lambda row=row: work(row)) for row in rows]


def test_exit_status_and_json(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, "tasks", lambda quick: fake(ROWS))
    file = tmp_path / "out.json"
    assert cli.main(["verify", "--json", str(file)]) == 0
    assert "All 2 checks agree (1 exercise, 1 convolution); the worst is 0.50 of 3 units" in capsys.readouterr().out
    outcome = json.loads(file.read_text())
    assert outcome["passed"]
    assert outcome["complete"]
    assert outcome["rows"][1]["where"] == "dw[0]"
    assert os.listdir(tmp_path) == ["out.json"]


def test_disagreement_is_exit_status_1(monkeypatch, capsys):
    wrong = Row("convolution", "3 × 3", "cpu", False, float("inf"), 0.2, "dw[0]", 1.0, 1.0)
    monkeypatch.setattr(run, "tasks", lambda quick: fake([*ROWS, wrong]))
    assert cli.main(["verify"]) == 1
    assert "1 of 3 checks disagree: convolution '3 × 3' on cpu." in capsys.readouterr().out


def test_interrupted_says_what_was_done(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(run, "tasks", lambda quick: fake(ROWS, stop=True))
    assert cli.main(["verify", "--json", str(tmp_path / "out.json")]) == 130
    assert "Stopped after 1 of 2 checks." in capsys.readouterr().out
    outcome = json.loads((tmp_path / "out.json").read_text())
    assert not outcome["complete"]
    assert not outcome["passed"]


def test_an_unforeseen_error_is_a_failed_row_and_the_run_goes_on(monkeypatch):
    def unforeseen():
        raise RuntimeError("XLA said no")

    monkeypatch.setattr(run, "EXERCISES", (unforeseen, EXERCISES[0]))
    monkeypatch.setattr(run, "CONV_CASES", ())
    monkeypatch.setattr(run, "GATED_CASES", ())
    monkeypatch.setattr(digits, "MODELS", ())
    first, second = (row for task in run.tasks() for row in task.work())
    assert not first.passed
    assert first.detail == "RuntimeError: XLA said no"
    assert second.passed


def test_json_into_a_folder_is_said_before_the_work(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(run, "tasks", lambda quick: pytest.fail("worked in vain"))
    assert cli.main(["verify", "--json", str(tmp_path)]) == 2
    assert "--json must name a file" in capsys.readouterr().err


def test_json_into_no_folder_is_said_before_the_work(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(run, "tasks", lambda quick: pytest.fail("worked in vain"))
    assert cli.main(["verify", "--json", str(tmp_path / "none" / "out.json")]) == 2
    assert "--json must name a file in a folder that exists" in capsys.readouterr().err


def test_a_file_is_written_whole_or_not_at_all(monkeypatch, tmp_path):
    file = tmp_path / "out.json"
    file.write_text("before")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        output.write_whole(file, "after")
    assert file.read_text() == "before"
    assert os.listdir(tmp_path) == ["out.json"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_signs_become_words_where_the_encoding_has_none(encoding, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "tasks", lambda quick: fake(ROWS))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    assert cli.main(["verify", "--json", str(tmp_path / "out.json")]) == 0
    times = "×" if encoding == "utf-8" else "x"
    line = "│" if encoding == "utf-8" else "|"
    said = written.getvalue().decode(encoding)
    assert f"{line} exercise 1. sizes" in said or f"{line} 1. sizes" in said
    assert f"3 {times} 3" in said
    assert "All 2 checks agree (1 exercise, 1 convolution); the worst is 0.50 of 3 units" in said
    columns = [text for text in said.splitlines() if text.startswith(line)]
    assert len({len(text) for text in columns}) == 1, "what is longer in words is laid out so"
    assert "3 × 3" in (tmp_path / "out.json").read_text(encoding="utf-8")


def test_legible_leaves_what_can_be_shown(monkeypatch):
    text = "⌊n/s⌋ ≤ 3·10⁻² → größe \u0434 \ud800"
    for encoding, said in {
        "ascii": "floor(n/s) <= 3*10^-2 -> gro\\xdfe \\u0434 \\ud800",
        "cp1252": "floor(n/s) <= 3*10^-2 -> größe \\u0434 \\ud800",
    }.items():
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        assert output.legible(text, stream) == said
        assert output.legible("plain", stream) == "plain"
    assert output.legible(text[:-1], io.TextIOWrapper(io.BytesIO(), "utf-8")) == text[:-1]
    assert output.legible(text, io.StringIO()) == text


@pytest.mark.parametrize(
    ("wrong", "status", "full"),
    [(False, 2, True), (True, 1, True), (False, 2, False)],
    ids=["right", "wrong", "closed"],
)
def test_the_files_are_there_though_nothing_can_be_shown(wrong, status, full, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, "tasks", lambda quick: fake([replace(ROWS[1], passed=not wrong)]))
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["verify", "--json", str(tmp_path / "out.json"), "--html", str(tmp_path / "out.html")]
    # Closing raises nothing: what is left goes nowhere.
    with os.fdopen(writer, "w") as closed, open("/dev/full", "w") as on_full_disk:
        monkeypatch.setattr(sys, "stdout", on_full_disk if full else closed)
        assert cli.main(arguments) == status
    why = "No space left on device" if full else "nobody reads it any more: the pipe is closed"
    assert capsys.readouterr().err == f"jaxconv verify: the output could not be written: {why}\n"
    assert json.loads((tmp_path / "out.json").read_text())["passed"] is not wrong
    assert sorted(os.listdir(tmp_path)) == ["out.html", "out.json"]


def test_a_link_and_a_device_stay_what_they_are(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("before")
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    (tmp_path / "null").symlink_to(os.devnull)
    for name in ("link", "null"):
        assert output.unwritable(tmp_path / name) is None
        output.write_whole(tmp_path / name, "after")
        assert (tmp_path / name).is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "after"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert output.unwritable(tmp_path / "loop").endswith("Too many levels of symbolic links")
    assert output.unwritable(tmp_path / ("a" * 300)).endswith("File name too long")


def test_infinity_is_valid_json():
    row = Row("convolution", "c", "cpu", False, np.inf, outputs={"dx": np.inf}, heat=Heat.of("dx", np.full(3, np.inf)))
    (read,) = json.loads(report.as_json([row], 1))["rows"]
    assert (read["units"], read["outputs"]) == ("inf", {"dx": "inf"})


@pytest.mark.parametrize("width", [80, 160])
def test_text_is_shown_as_it_stands(width, capsys):
    rows = [
        Row("exercise", "y[c, 2r + k] :bomb: [red]", "cpu", False, detail="ValueError: closes what is not open [/b]")
    ]
    console = Console()
    console.width = width
    console.print(report.table(rows, width))
    console.print(report.sentence(rows, 1), soft_wrap=True)
    text = " ".join(re.sub("[│┃]", " ", capsys.readouterr().out).split())
    assert text.count("y[c, 2r + k] :bomb: [red]") == 2
    assert "what is not open [/b]" in text


def test_progress_shows_names_as_they_stand():
    terminal = rich.console.Console(force_terminal=True, file=io.StringIO(), width=80)
    with progress(terminal) as shown:
        shown.add_task("exercise: y[c, 2r + k] [/b]", total=1)
    assert "y[c, 2r + k] [/b]" in terminal.file.getvalue()


@pytest.mark.parametrize("width", [80, 139, 140])
def test_a_narrow_terminal_cuts_no_column_off(width, capsys):
    wrong = replace(ROWS[1], passed=False, units=8.6e7, where="second w[2, 2, 0, 2, 0]", detail="wrong: dx; right: y")
    console = Console()
    console.width = width
    console.print(report.table([*ROWS, wrong], width))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("┏", "│", "└"))]
    assert {line[-1] for line in lines} == {"┓", "│", "┘"}
    assert "8.6e+07" in "".join(lines)


def test_a_failed_case_names_the_outputs_that_are_wrong(broken):
    break_map(broken, "conv_weight_vjp", lambda right, *at: right(*at) * 1.0001)
    broken.setattr(run, "CONV_CASES", (conv_case("1-D exercise 3"),))
    (task,) = [task for task in run._comparisons("cpu", quick=True) if task.part == "convolution"]
    (row,) = task.work()
    assert row.detail.startswith("wrong: dw by ")
    assert re.search("right: y, dx, db", row.detail)
    assert row.heat is not None
    assert row.heat.output == row.where.split("[")[0]
    assert row.heat.cells.max() == row.units == max(row.outputs.values())


def test_a_long_list_of_failures_is_cut():
    rows = [Row("convolution", f"case {n}", "cpu", False) for n in range(20)]
    said = report.sentence(rows, 20)
    assert said.startswith("20 of 20 checks disagree: convolution 'case 0' on cpu;")
    assert said.endswith("'case 7' on cpu; and 12 more.")


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as it is for a person; a run of tests in the background would hand down that it be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_where_python_drops_it() -> None:
    """As JAX's callback of the garbage collector would, in which most of them are lost."""

    class Gone: ...

    gone = Gone()
    kept = weakref.ref(gone, lambda _: signal.raise_signal(signal.SIGINT))
    del gone
    assert kept() is None


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_that_was_dropped_is_remembered(capsys):
    with sigint_guard() as stop_if_told:
        stop_if_told()
        press_where_python_drops_it()
        with pytest.raises(KeyboardInterrupt):
            stop_if_told()
    assert capsys.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("as_error", [False, True])
def test_ctrl_c_that_was_dropped_or_became_an_error_stops_a_run(as_error, monkeypatch, capsys):
    def work() -> Iterator[Row]:
        press_where_python_drops_it()
        yield replace(ROWS[0], passed=not as_error)
        pytest.fail("went on")

    stopped = Task("exercise", "2. more", "cpu", 2, work)
    monkeypatch.setattr(run, "tasks", lambda quick: [*fake(ROWS[:1]), stopped, *fake(ROWS)])
    assert cli.main(["verify"]) == 130
    assert "Stopped after 1 of 4 checks." in capsys.readouterr().out


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("times", [1, 2])
def test_a_second_ctrl_c_ends_the_process_at_once(times):
    script = (
        "import signal\nfrom jaxconv.terminal.sigint import sigint_guard\nwith sigint_guard():\n"
        f"    for _ in range({times}):\n        try: signal.raise_signal(2)\n        except KeyboardInterrupt: pass\n"
        "    print('goes on')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == ((0, "goes on\n") if times == 1 else (-signal.SIGINT, "")), done.stderr


def test_where_ctrl_c_is_to_be_ignored_it_is():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with sigint_guard() as stop_if_told:
            signal.raise_signal(signal.SIGINT)
            stop_if_told()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_real_run_cleanly(tmp_path):
    file = tmp_path / "out.json"
    command = [sys.executable, "-m", "jaxconv", "verify", "--json", str(file)]
    terminal = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"}  # so that it shows its progress
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command, env=terminal, **pipes) as process:
        try:
            shown = b""
            while not re.search(rb"[1-9]\d*/\d+", shown):
                shown += (piece := process.stdout.read(4096))
                assert piece, process.stderr.read().decode()
            process.send_signal(signal.SIGINT)
            out, err = (said.decode() for said in process.communicate(timeout=120))
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert "Stopped after" in out
    assert "Traceback" not in err  # XLA may say there that the machine is slow
    assert "ignored" not in err
    assert not json.loads(file.read_text())["complete"]
