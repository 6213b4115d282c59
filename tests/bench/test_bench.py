"""`jaxconv bench`: what is measured, in which order, and what a wrong call is told. No time is asserted."""

import io
import json
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from jaxconv import cli
from jaxconv.bench import measure, show
from jaxconv.bench.processes import Peer, PeerError, Same
from jaxconv.bench.run import SIZE, Entry
from jaxconv.bench.workloads import CONVOLUTIONS, RECURRENCES, Workload, read
from jaxconv.terminal.console import Console


class Clock:
    """Calls that take given seconds, and remember who was called."""

    def __init__(self, log, name, times):
        self.log, self.name, self.times = log, name, iter(times)

    def __call__(self, number):
        self.log.append((self.name, number))
        return next(self.times) * number


def test_pairs_are_interleaved_after_two_warm_ups_and_the_ratio_is_the_median_of_ratios():
    log = []
    ours = Clock(log, "a", [9, 1, 1.0, 1.0, 1.0])
    theirs = Clock(log, "b", [9, 1, 2.0, 3.0, 10.0])
    ratio = measure.side_by_side(ours, theirs, 3)
    # 9 s is long: no second warm-up, three pairs at most.
    assert [name for name, _ in log] == ["a", "b"] * 4
    assert (ratio.median, ratio.least, ratio.most, ratio.pairs) == (2.0, 1.0, 3.0, 3)


def test_short_calls_are_repeated_within_a_sample():
    log = []
    fast = Clock(log, "a", [1e-3] * 16)
    ratio = measure.side_by_side(fast, Clock(log, "b", [5e-3] * 16), 7)
    # Each sample after 50 ms of calls that are not counted.
    assert log[4:8] == [("a", 50), ("a", 5), ("b", 10), ("b", 1)]
    assert len(log) == 4 + 28
    assert ratio.median == pytest.approx(5)


def test_a_call_that_does_not_finish_is_a_lower_bound():
    ratio = measure.at_least(Clock([], "a", [0.5] * 9), 30.0, 7)
    assert (ratio.median, ratio.pairs) == (60.0, 0)
    peak = measure.Ratio(0.5, 0.25, 0.5, 0.4, 0.6, 7)  # a product of as many operations takes half as long
    entry = Entry("w", "dw", 2 * SIZE**3, 0.5, peak=peak, ratios={"lax": ratio})
    text = show.markdown([entry], ["lax"], "jaxconv bench")
    assert "> 60.00" in text
    assert "| 50% |" in text
    assert f"{2 * SIZE**3 / 0.25 / 1e9:.0f} GFLOP/s" in text


def test_its_table_in_words(monkeypatch):
    plain = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(plain, "cp1252"))
    peak = measure.Ratio(0.5, 0.25, 0.5, 0.4, 0.6, 7)
    Console().print(show.table([Entry("w", "dw", 1e9, 0.5, peak=peak)], ["lax"]))
    said = plain.getvalue().decode("ascii")
    assert "| x lax |" in said
    assert "beside a 2048^3 matrix product" in " ".join(said.split())


def test_the_geometric_mean():
    assert show.geometric_mean([1, 100]) == pytest.approx(10)
    assert show.geometric_mean([]) is None


def test_the_public_workloads():
    assert len({one.name for one in CONVOLUTIONS}) == 15
    assert len({one.name for one in RECURRENCES}) == 11
    by_name = {one.name: one for one in CONVOLUTIONS}
    assert by_name["conv1d_s2"].multiply_adds() == 8 * 1 * 2 * 3 * 2
    assert by_name["grp32"].multiply_adds() == 8 * 56 * 56 * 128 * 4 * 9


def test_a_file_gives_back_what_was_written(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps([asdict(one) for one in CONVOLUTIONS], indent=1))
    assert read(path) == CONVOLUTIONS


def test_a_file_as_windows_writes_it(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(f"[{ONE}]", encoding="utf-8-sig")
    assert read(path)[0].name == "a"
    path.write_bytes(b"\xff\xfe[")
    with pytest.raises(ValueError, match=r"own\.json: must be UTF-8: .* can't decode byte 0xff"):
        read(path)


def test_what_does_not_fit_is_named(tmp_path, capsys):
    for name, x, stride in (("large", 10**15, 1), ("far", 5, 10**30)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps([{"name": name, "x": [1, 2, x], "w": [1, 2, 3], "stride": stride}]))
        assert cli.main(["bench", "--file", str(path), "--against", ",", "--quick"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"jaxconv bench: {name} y cannot be run here: ")
        assert said.count("\n") == 1


ONE = '{"name": "a", "x": [1, 2, 5], "w": [1, 2, 3]}'


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("{}", 1, "list of objects"),
        (f"[\n{ONE},\n", 3, "must be JSON"),
        (f"[\n{ONE},\n{ONE}]", 3, "names must differ"),
        ("[]", 1, "at least one"),
        ("[\n\n3]", 3, "must be an object"),
        ('[{"name": "a",\n "x": [1 2]}]', 2, "must be JSON"),
        ('[\n{"name": "a", "x": [1, 2, 5]}]', 2, "'w' must be given"),
        ('[\n{"name": 1, "x": [1, 2, 5], "w": [1, 2, 3]}]', 2, "'name' must be a text"),
        (f'[\n{ONE[:-1]}, "strid": 2}}]', 2, "'strid'"),
        (f'[\n{ONE[:-1]}, "stride": 0}}]', 2, "stride"),
        (f'[\n{ONE[:-1]}, "stride": true}}]', 2, "integers"),
        (f'[\n{ONE[:-1]}, "groups": 2}}]', 2, "in/groups"),
        ('[\n{"name": "a", "x": [1, 2, 5], "w": [1, 2, 9]}]', 2, "needs at least 9"),
        ('[\n{"name": "a", "x": [1, 2, 5], "w": [1, 2, 3, 3]}]', 2, "spatial"),
        (f"[{ONE}]\nmore", 2, "nothing must follow"),
        ("[" * 100_000, 1, "must not be nested as deep"),
    ],
)
def test_a_wrong_file_is_named_with_line_and_rule(tmp_path, text, line, rule):
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rule) as caught:
        read(path)
    assert f"{path}, line {line}: " in str(caught.value)


@pytest.mark.slow
def test_a_run_against_lax_writes_what_the_picture_reads(tmp_path, capsys):
    written, table = tmp_path / "bench.json", tmp_path / "bench.md"
    wanted = ["bench", "conv1d_s2", "--quick", "--json", str(written), "--markdown", str(table)]
    assert cli.main(wanted) == 0
    assert "conv1d_s2" in capsys.readouterr().out
    outcome = json.loads(written.read_text())
    assert [(row["map"], row["peer"]) for row in outcome["rows"]] == [("y", "lax"), ("dx", "lax"), ("dw", "lax")]
    assert all(row["ratio"] > 0 for row in outcome["rows"])
    assert "| conv1d_s2 |" in table.read_text()
    pytest.importorskip("matplotlib").use("agg")
    from jaxconv import plot

    assert len(plot.bench(outcome["rows"]).patches) == 3


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["nothing"], "got nothing"),
        (["gated", "dw3x3"], "got dw3x3"),
        (["--against", "tensorflow"], "got tensorflow"),
        (["--against", "torch", "--python", "/nowhere/python"], "cannot be started"),
        (["--file", "/nowhere/own.json"], "No such file"),
        (["--json", "/nowhere/out.json"], "no folder"),
        (["--limit", "0"], "must be positive"),
        (["--json", "out", "--markdown", "out"], "must name two files; got out for both"),
        (["gated", "--file", "own.json"], "leave it out"),
        (["gated", "--dtype", "bfloat16"], "leave them out"),
        (["--dtype", "bfloat16", "gated", "--layout", "channels_last"], "leave them out"),
    ],
)
def test_a_wrong_call_is_status_2_and_one_line(arguments, rule, capsys):
    assert cli.main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert rule in error
    assert error.startswith("jaxconv bench: ")
    assert error.count("\n") == 1


@pytest.fixture
def serving(tmp_path, monkeypatch):
    """A peer whose process is the given script."""

    def make(script, limit=0.2, kind=Peer):
        path = tmp_path / "peer.py"
        path.write_text("import json, sys, time\n" + script)
        monkeypatch.setattr("jaxconv.bench.processes.SERVER", path)
        return kind("fake", sys.executable, limit)

    return make


HELLO = "print(json.dumps({'fake': '1'}), flush=True)\n"


def test_a_peer_answers_dies_and_hangs(serving):
    good = serving(HELLO + "for line in sys.stdin: print(json.dumps({'seconds': 0.5}), flush=True)", limit=20)
    good.start()
    assert good.versions == {"fake": "1"}
    assert good.run(1) == 0.5
    good.close()
    dead = serving(HELLO, limit=20)
    dead.start()
    with pytest.raises(PeerError, match="died"):
        dead.run(1)
    hanging = serving(HELLO + "for line in sys.stdin: time.sleep(60)")
    hanging.start()
    with pytest.raises(TimeoutError):
        hanging.run(1)
    with pytest.raises(PeerError, match="died"):
        serving("sys.exit()").start()


def test_jax_is_timed_in_this_process_once_it_was_seen_to_end(serving, monkeypatch):
    timed = []
    here = SimpleNamespace(build=lambda name, call: (lambda: timed.append(name), {}))
    monkeypatch.setattr("jaxconv.bench.processes.here", lambda name: here)
    answers = HELLO + "for line in sys.stdin: print(json.dumps({'seconds': 0.5, 'compile': 3}), flush=True)"
    same = serving(answers, 20, Same)
    same.start()
    assert same.build({})["compile"] == 3
    assert 0 < same.run(2) < 0.5
    assert timed == ["fake"] * 2
    same.close()
    hanging = serving(HELLO + "print(json.dumps({}), flush=True); time.sleep(60)", kind=Same)
    hanging.start()
    with pytest.raises(TimeoutError):
        hanging.build({})


def test_a_workload_is_a_geometry():
    assert Workload("a", (1, 2, 5), (1, 2, 3), stride=2).geometry("channels_last").output_size == (2,)
