"""`jaxconv tune`: what is measured, by which rules, and that nothing costs more than itself. No time is asserted."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import cli, use_wisdom
from jaxconv.algorithms.choose import ALGORITHMS, choose
from jaxconv.algorithms.measured import records, wisdom
from jaxconv.algorithms.problem import Problem
from jaxconv.bench import tune, tune_child, tune_command, tune_layers
from jaxconv.bench.processes import PeerError
from jaxconv.sizes.geometry import Geometry

pytestmark = pytest.mark.unoptimised

PROBLEM = Problem("conv", Geometry.of("test", (6, 6), (3, 3), padding=1), 2, 3, 4)
LAYERS = [
    {"name": "a", "x": [2, 4, 6, 5], "w": [6, 2, 3, 2], "stride": [2, 1], "padding": [[1, 0], [0, 2]], "groups": 2},
    {"name": "b", "x": [1, 3, 8], "w": [2, 3, 3], "which": "conv", "layout": "channels_last", "dtype": "bfloat16"},
]


class Clock(tune.Child):
    """A child that takes given seconds for a call, and remembers what it was asked."""

    def __init__(self, seconds: dict[str, float | str] | None = None, heeded: Callable[[], None] = tune.nothing):
        super().__init__(heeded=heeded)
        self.seconds, self.asked = seconds or {}, []

    def ready(self) -> None:
        pass

    def begin(self, problem: Problem) -> float:
        self.heeded()
        return 0.0

    def make(self, name: str) -> float | str:
        self.asked.append(("make", name, 1))
        return self.seconds.get(name, 1e-3)

    def time(self, name: str, number: int, warm: int = 0) -> float:
        self.asked.append(("time", name, number))
        return self.seconds.get(name, 1e-3)


def test_candidates_are_interleaved_and_one_far_behind_is_called_once() -> None:
    child = Clock({"reference": 4.0, "gemm": 0.01, "canonical": 0.02, "wrong": "its value is off"})
    made = tune.measure(PROBLEM, child, ["reference", "wrong", "gemm", "canonical"])
    assert made.seconds == {"reference": 4.0, "gemm": 0.01, "canonical": 0.02}
    assert made.failed == {"wrong": "its value is off"}
    assert [name for what, name, _ in child.asked if name == "reference"] == ["reference"]
    rounds = [name for what, name, _ in child.asked if what == "time"][2:]
    pairs = [set(rounds[at : at + 2]) for at in range(0, len(rounds), 2)]
    assert pairs == [{"gemm", "canonical"}] * max(tune.ROUNDS, len(pairs))


def test_short_calls_are_many_in_a_sample_and_long_ones_few() -> None:
    fast, slow = Clock({"gemm": 2e-5}), Clock({"gemm": 3.0})
    tune.measure(PROBLEM, fast, ["gemm"])
    tune.measure(PROBLEM, slow, ["gemm"])
    assert [number for _, _, number in fast.asked[2:]] == [250] * 3 * tune.ROUNDS
    assert len(slow.asked) == 1 + 1 + 3


def test_the_median_counts() -> None:
    child = Clock()
    child.time = lambda name, number, warm=0: next(times)  # type: ignore[method-assign]
    times = iter([2.5, 1.0, 9.0, 2.0])
    assert tune.measure(PROBLEM, child, ["gemm"]).seconds == {"gemm": 2.0}


# ---------------------------------------------------------------------------------- a process that dies, or hangs

# The protocol of `tune_child` without JAX, in which one algorithm ends the process and another never answers.
FAKE = """
import json, os, sys, time
print("{}", flush=True)
for line in sys.stdin:
    message = json.loads(line)
    name = message.get("make", message.get("run"))
    if name == "dies" or (name == "dies later" and "run" in message):
        os._exit(7)
    if name == "hangs":
        time.sleep(1000)
    if name == "refuses":
        print(json.dumps({"error": "NotImplementedError: no"}), flush=True)
    else:
        print(json.dumps({"seconds": 0.001 * message.get("number", 1)}), flush=True)
"""


def test_one_that_dies_or_hangs_costs_only_itself() -> None:
    child = tune.Child(patience=1.0, code=FAKE)
    try:
        names = ["reference", "dies", "gemm", "hangs", "refuses", "dies later", "canonical"]
        made = tune.measure(PROBLEM, child, names)
    finally:
        child.close()
    assert made.seconds == pytest.approx({"reference": 1e-3, "gemm": 1e-3, "canonical": 1e-3})
    assert made.failed == {
        "dies": "the process died, exit status 7",
        "hangs": "it did not end within 1 s",
        "refuses": "NotImplementedError: no",
        "dies later": "the process died, exit status 7",
    }


def test_inputs_that_do_not_fit_are_said_of_every_candidate() -> None:
    child = Clock()
    child.begin = lambda problem: child._answer_error()  # type: ignore[method-assign]

    def refuse() -> float:
        raise PeerError("tune: MemoryError: 9 TB")

    child._answer_error = refuse  # type: ignore[attr-defined]
    made = tune.measure(PROBLEM, child, ["reference", "gemm"])
    assert (made.seconds, made.failed) == ({}, dict.fromkeys(["reference", "gemm"], "MemoryError: 9 TB"))


def test_no_process_at_all_is_an_error() -> None:
    child = tune.Child(code="raise SystemExit(3)")
    with pytest.raises(PeerError, match="died, exit status 3"):
        tune.measure(PROBLEM, child, ["gemm"])


@pytest.mark.slow
def test_the_process_itself() -> None:
    """With algorithms that only it has: one dies, one hangs, one is wrong."""
    fakes = """
import os, time
from types import SimpleNamespace
from jaxconv.algorithms.choose import ALGORITHMS
from jaxconv.bench import tune_child
right = ALGORITHMS["reference"].conv
for name, f in {
    "dies": lambda *a: os._exit(7),
    "hangs": lambda *a: time.sleep(1000),
    "wrong": lambda *a: right(*a) * 1.0001,
    "raises": lambda *a: 1 / 0,
}.items():
    ALGORITHMS[name] = SimpleNamespace(conv=f)
tune_child.main()
"""
    child = tune.Child(patience=60.0, code=fakes)
    try:
        child.ready()
        child.limit = 30.0
        names = [*tune.candidates(PROBLEM), "dies", "wrong", "raises", "hangs"]
        made = tune.measure(PROBLEM, child, names)
    finally:
        child.close()
    assert set(made.seconds) == set(tune.candidates(PROBLEM))
    assert all(seconds > 0 for seconds in made.seconds.values())
    assert made.failed["dies"] == "the process died, exit status 7"
    assert made.failed["hangs"] == "it did not end within 30 s"
    assert "units off the reference's" in made.failed["wrong"]
    assert made.failed["raises"].startswith("ZeroDivisionError")


# --------------------------------------------------------------------------------------------- what the child makes


@pytest.mark.parametrize("which", records.MAPS)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_its_inputs_are_those_of_the_problem(which: str, layout: str) -> None:
    geometry = Geometry.of("test", (6, 5), (3, 2), stride=(2, 1), groups=2, layout=layout)
    problem = Problem(which, geometry, 2, 3, 4)
    a, b = tune_child.shapes(problem)
    assert Problem.of(which, jnp.zeros(a), jnp.zeros(b), geometry) == problem


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_value_is_compared_with_the_reference(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    right = ALGORITHMS["reference"].conv
    off = 1 + (1e-4 if dtype == "float32" else 0.3)
    fakes = {
        "off": lambda *call: (right(*call) * jnp.asarray(off, dtype)).astype(dtype),
        "nan": lambda *call: right(*call).at[0, 0, 0, 0].set(jnp.nan),
        "shape": lambda *call: right(*call)[:1],
    }
    for name, f in fakes.items():
        monkeypatch.setitem(ALGORITHMS, name, SimpleNamespace(conv=f))
    trial = tune_child.Trial(PROBLEM._replace(dtype=dtype))
    assert trial.make("reference")["seconds"] > 0
    assert trial.make("gemm")["seconds"] > 0
    assert {name: "wrong" in trial.make(name) for name in fakes} == dict.fromkeys(fakes, True)
    assert trial.run("gemm", 3, 1)["seconds"] > 0


def test_an_error_is_answered_and_the_child_goes_on() -> None:
    trial, answer = tune_child.answered(None, {"problem": {"which": "y"}})
    assert (trial, answer["error"][:8]) == (None, "KeyError")


# -------------------------------------------------------------------------------------------------------- workloads


def test_a_layer_in_each_layout_and_map() -> None:
    found = tune_layers.by_problem(enumerate([*LAYERS, {**LAYERS[0], "name": "c"}], 1), "test")
    assert len(found) == 2 * 3 + 1
    last = list(found)[-1]
    assert (last.which, last.geometry.layout, last.dtype, last.channels, last.batch) == (
        "conv", "channels_last", "bfloat16", 3, 1,
    )  # fmt: skip
    assert found[last] == ["b"]
    assert all(names == ["a", "c"] for names in list(found.values())[:-1])
    assert len(tune_layers.public()) == 15 * 2 * 3


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "line 1: must be JSON"),
        ("{}", "must hold a list of layers"),
        ("[]", "must hold a list of layers"),
        ('[{"x": [1, 2, 3]},\n3]', r"entry 1 \(layer 1\): `w` must be given"),
        ("[3]", "entry 1: must be an object; got 3"),
        (
            '[{"name": "a", "x": [1, 2, 9], "w": [4, 2, 3], "strid": 2}]',
            r"entry 1 \(a\): a key .*mean 'stride'",
        ),
        ('[{"name": "a", "x": [1, 2, 9], "w": [4, 3, 3]}]', r"entry 1 \(a\): the kernel's input channels"),
        ('[{"name": "a", "x": [1, 2, 9], "w": [4, 2, 3], "stride": 0}]', r"entry 1 \(a\): `stride` must be at least 1"),
        ('[{"name": "a", "x": [0, 2, 9], "w": [4, 2, 3]}]', r"entry 1 \(a\): `x` must have at least one image"),
        ('[{"name": "a", "x": [1, 1, 2, 9], "w": [4, 2, 3]}]', r"entry 1 \(a\): `x` and `w` must have two axes"),
        ('[{"name": "a", "x": "1x2x9", "w": [4, 2, 3]}]', r"entry 1 \(a\): `x` must be a sequence"),
        ('[{"name": "a", "x": [1, 2, 9], "w": [4, 2, 3], "dtype": "int8"}]', r"entry 1 \(a\): `dtype` must be one of"),
        ('[{"name": "a", "x": [1, 2, 9], "w": [4, 2, 3], "which": ["y"]}]', r"entry 1 \(a\): `which` must be one of"),
        ('[{"name": 1, "x": [1, 2, 9], "w": [4, 2, 3]}]', r"entry 1 \(1\): `name` must be a text"),
    ],
)
def test_a_wrong_file_is_told_the_entry_and_the_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture, text: str, rule: str
) -> None:
    file = tmp_path / "layers.json"
    file.write_text(text)
    with pytest.raises((TypeError, ValueError), match=rule) as error:
        tune_layers.read(file)
    assert str(error.value).startswith(f"jaxconv tune: {file}")
    assert cli.main(["tune", "--file", str(file), "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith(f"jaxconv tune: {file}")


# ------------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    use_wisdom(tmp_path / "wisdom")
    path = wisdom.file()
    assert path is not None
    yield path
    use_wisdom(True)


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    path = tmp_path / "layers.json"
    path.write_text(json.dumps(LAYERS))
    return path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_command, "Child", lambda heeded: Clock({"gemm": 5e-4}, heeded))


@pytest.mark.usefixtures("clock")
def test_what_is_measured_is_kept_chosen_shown_and_forgotten(
    place: Path, layers: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["tune", "--file", str(layers)]
    assert cli.main([*command, "--dry-run"]) == 0
    assert "7 problems, about" in capsys.readouterr().out
    assert not place.exists()
    assert cli.main(command) == 0
    assert "7 measured, kept in" in " ".join(capsys.readouterr().out.split())
    problem = next(iter(tune_layers.read(layers)))
    assert wisdom.lookup(problem) == {**dict.fromkeys(tune.candidates(problem), 1e-3), "gemm": 5e-4}
    assert choose(problem) == "gemm"
    assert records.read(place)[problem].names == ["a"]
    assert cli.main(command) == 0
    assert "7 known already; --again measures them anew. 0 measured." in capsys.readouterr().out
    assert cli.main([*command, "--again"]) == 0
    assert "7 measured" in capsys.readouterr().out
    assert cli.main(["tune", "--show"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("conv_weight_vjp") == 2
    assert cli.main(["tune", "--forget"]) == 0
    assert "is deleted" in capsys.readouterr().out
    assert wisdom.lookup(problem) is None
    for option in ("--forget", "--show"):
        assert cli.main(["tune", option]) == 0
        assert "There is no wisdom of this machine" in capsys.readouterr().out


@pytest.mark.usefixtures("clock")
def test_records_can_go_to_a_file(place: Path, layers: Path, tmp_path: Path) -> None:
    output = tmp_path / "evidence.json"
    assert cli.main(["tune", "--file", str(layers), "--output", str(output)]) == 0
    assert len(records.read(output)) == 7
    assert not place.exists()


def test_a_file_of_ones_own_is_not_deleted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text("[]")
    assert cli.main(["tune", "--forget", "--output", str(mine)]) == 2
    assert capsys.readouterr().err.startswith("jaxconv tune: --forget is of the cache folder")
    assert mine.exists()


@pytest.mark.usefixtures("clock", "place")
def test_a_damaged_file_is_not_written_over(place: Path, layers: Path, capsys: pytest.CaptureFixture) -> None:
    place.parent.mkdir()
    place.write_text("{")
    assert cli.main(["tune", "--file", str(layers)]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert place.read_text() == "{"


@pytest.mark.usefixtures("place")
def test_ctrl_c_and_the_limit_keep_what_was_measured(
    place: Path, layers: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Clock):
        def begin(self, problem: Problem) -> float:
            if problem.which == "conv_weight_vjp":
                raise KeyboardInterrupt
            return super().begin(problem)

    monkeypatch.setattr(tune_command, "Child", lambda heeded: Interrupted(heeded=heeded))
    assert cli.main(["tune", "--file", str(layers)]) == 130
    assert "5 of 7 problems are left" in " ".join(capsys.readouterr().out.split())
    assert len(records.read(place)) == 2
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(tune_command, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    monkeypatch.setattr(tune_command, "Child", lambda heeded: Clock(heeded=heeded))
    assert cli.main(["tune", "--file", str(layers), "--limit", "45"]) == 0
    assert "--limit is reached: 3 of 5 problems" in " ".join(capsys.readouterr().out.split())
    assert len(records.read(place)) == 4


@pytest.mark.parametrize("limit", ["0", "nan"])
def test_the_limit_is_positive(limit: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["tune", "--limit", limit]) == 2
    assert capsys.readouterr().err.startswith("jaxconv tune: --limit must be positive")


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    layers: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["tune", "--file", str(layers), "--output", str(tmp_path)]) == 2
    assert "jaxconv tune" in capsys.readouterr().err


def test_durations_in_words() -> None:
    assert [tune_command.duration(each) for each in (3.4, 200, 5400)] == ["3 s", "3 min", "1.5 h"]


def test_nothing_drawn_depends_on_what_ran_before() -> None:
    first, second = (tune_child.Trial(PROBLEM).inputs for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert sys.modules["jax"].config.jax_enable_x64 is False
