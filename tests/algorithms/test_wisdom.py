"""What was measured on a machine is looked up there, as long as it is whole, of that machine, and asked for."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

import jaxconv
from jaxconv import conv, use_wisdom
from jaxconv.algorithms.choose import choose, estimates
from jaxconv.algorithms.measured import records, wisdom
from jaxconv.algorithms.measured.records import Record
from jaxconv.algorithms.problem import Problem
from jaxconv.sizes.geometry import Geometry

pytestmark = pytest.mark.unoptimised

GEOMETRY = Geometry.of("test", (6, 5), (3, 2), stride=(2, 1), padding=[(1, 0), (0, 2)], groups=2)
PROBLEM = Problem("conv", GEOMETRY, 2, 3, 4)
X, W = jnp.ones((4, 4, 6, 5)), jnp.ones((6, 2, 3, 2))
OPTIONS = {"stride": (2, 1), "padding": [(1, 0), (0, 2)], "groups": 2}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """The file that wisdom is read from during a test."""
    use_wisdom(tmp_path)
    path = wisdom.file()
    assert path is not None
    assert path.parent == tmp_path
    yield path
    use_wisdom(True)


def program() -> str:
    """What a call becomes."""
    return str(jax.make_jaxpr(lambda x, w: conv(x, w, **OPTIONS))(X, W))


def program_of(lowering: str) -> str:
    return str(jax.make_jaxpr(lambda x, w: conv(x, w, **OPTIONS, lowering=lowering))(X, W))


def test_what_was_measured_is_looked_up_by_all_facts_of_the_problem(file: Path) -> None:
    records.add(file, [Record(PROBLEM, {"gemm": 2e-3, "reference": 1.23456e-3}, {"planes": "it died"}, ["é"])])
    assert wisdom.lookup(PROBLEM) == {"gemm": 2e-3, "reference": 1.235e-3}
    others = {"which": "conv_input_vjp", "channels": 3, "filters": 2, "batch": 5, "dtype": "float64", "mapped": True}
    for fact, value in {**others, "partitioned": True}.items():
        assert wisdom.lookup(PROBLEM._replace(**{fact: value})) is None, fact
    read = records.read(file)[PROBLEM]
    assert (read.failed, read.names) == ({"planes": "it died"}, ["é"])


@pytest.mark.parametrize("which", records.MAPS)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_a_record_of_a_call_is_found_by_the_call(file: Path, which: str, layout: str) -> None:
    geometry = Geometry.of("test", (6, 5), (3, 2), **OPTIONS, layout=layout)
    problem = PROBLEM._replace(which=which, geometry=geometry)
    records.add(file, [Record(problem, {"gemm": 1.0})])
    x, w, g = (4, 4, 6, 5), (6, 2, 3, 2), (4, 6, *geometry.output_size)
    if layout == "channels_last":
        x, w, g = (4, 6, 5, 4), (3, 2, 2, 6), (4, *geometry.output_size, 6)
    arrays = {"conv": (x, w), "conv_input_vjp": (g, w), "conv_weight_vjp": (x, g)}[which]
    assert wisdom.lookup(Problem.of(which, *map(jnp.zeros, arrays), geometry)) == {"gemm": 1.0}


@pytest.mark.parametrize("least", ["gemm", "reference"])
def test_the_least_measured_is_chosen(file: Path, least: str) -> None:
    seconds = dict.fromkeys(estimates(PROBLEM), 2.0)
    records.add(file, [Record(PROBLEM, {**seconds, least: 1.0, "an algorithm of another day": 0.5})])
    assert choose(PROBLEM) == least
    assert program().count("dot_general") == program_of(least).count("dot_general")


# ------------------------------------------------------------------------------------------- files that will not do


def good() -> dict:
    return {
        "format": records.FORMAT,
        "machine": records.machine(),
        "records": [Record(PROBLEM, {"gemm": 1.0}).as_json()],
    }


def with_record(**facts: object) -> str:
    outcome = good()
    outcome["records"][0].update(facts)
    return json.dumps(outcome)


def on(**facts: object) -> str:
    return json.dumps({**good(), "machine": {**records.machine(), **facts}})


BAD = {
    "empty": ("", "damaged"),
    "cut off": (json.dumps(good())[:-9], "damaged"),
    "a list": ("[]", "damaged"),
    "nested": ("[" * 100_000, "damaged"),
    "records of numbers": (json.dumps({**good(), "records": [1]}), "damaged: record 0"),
    "no records": (json.dumps({**good(), "records": None}), "damaged"),
    "negative": (with_record(seconds={"gemm": -1}), "damaged: record 0"),
    "not a number": (with_record(seconds={"gemm": float("nan")}), "damaged: record 0"),
    "seconds in words": (with_record(seconds={"gemm": "long"}), "damaged: record 0"),
    "seconds as a list": (with_record(seconds=[1.0]), "damaged: record 0"),
    "map": (with_record(which="y"), "damaged: record 0"),
    "dtype": (with_record(dtype="int8"), "damaged: record 0"),
    "groups": (with_record(groups=3), "damaged: record 0"),
    "kernel": (with_record(kernel_size=[99, 1]), "damaged: record 0"),
    "format": (json.dumps({**good(), "format": 99}), "format 99"),
    "processor": (on(processor="another"), "another machine: processor 'another'"),
    "features": (on(features=[]), "another machine: features"),
    "threads": (on(threads=1024), "another machine: threads 1024"),
    "jaxlib": (on(jaxlib="0.0.1"), "another machine: jaxlib '0.0.1'"),
    "jaxconv": (on(jaxconv="0.0.0"), "another machine: jaxconv"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_will_not_do_is_named_once_and_ignored(file: Path, name: str) -> None:
    text, why = BAD[name]
    file.write_text(text)
    with pytest.warns(UserWarning, match="wisdom is ignored") as said:
        assert wisdom.lookup(PROBLEM) is None
    assert len(said) == 1
    assert str(file) in str(said[0].message)
    assert why in str(said[0].message)
    assert choose(PROBLEM) in estimates(PROBLEM)  # and no second warning, which would be an error here
    if "machine" in why:
        assert set(records.read(file, anywhere=True)) == {PROBLEM}
    with pytest.raises(records.RecordsError, match="wisdom"):
        records.add(file, [Record(PROBLEM, {"gemm": 1.0})])
    assert file.read_text() == text, "what is not understood is not replaced"


def test_bytes_that_are_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.warns(UserWarning, match="cannot be read"):
        assert wisdom.lookup(PROBLEM) is None


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_is_written_whole_or_not_at_all(
    file: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    records.add(file, [Record(PROBLEM, {"gemm": 1.0})])
    before = file.read_text()

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fails)
    with pytest.raises(type(error)):
        records.add(file, [Record(PROBLEM, {"gemm": 2.0})])
    assert file.read_text() == before
    assert os.listdir(file.parent) == [file.name]


def test_writers_at_once_lose_nothing(file: Path) -> None:
    def writer(first: int) -> None:
        for batch in range(first, first + 5):
            records.add(file, [Record(PROBLEM._replace(batch=batch), {"gemm": 1.0})])

    threads = [threading.Thread(target=writer, args=(first,)) for first in range(1, 41, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.batch for each in records.read(file)) == list(range(1, 41))


# ------------------------------------------------------------------------------------------------------- switches


def test_the_switch(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.add(file, [Record(PROBLEM, {"gemm": 1.0})])
    assert wisdom.lookup(PROBLEM) is not None
    use_wisdom(False)
    assert wisdom.lookup(PROBLEM) is None
    use_wisdom(True)  # as the environment says: conftest.py has it off
    assert not wisdom.is_on()
    assert wisdom.lookup(PROBLEM) is None
    for place in (file, file.parent):
        monkeypatch.setenv(wisdom.VARIABLE, str(place))
        wisdom.reload()
        assert (wisdom.file(), wisdom.lookup(PROBLEM)) == (file, {"gemm": 1.0})
    with pytest.raises(TypeError, match=r"^use_wisdom: `wisdom` must be True, False or a path; got wisdom=None\.$"):
        use_wisdom(None)  # type: ignore[arg-type]


def test_the_cache_folder_of_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path.home()
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for system, folder in {"linux": ".cache", "darwin": "Library/Caches"}.items():
        monkeypatch.setattr(sys, "platform", system)
        assert wisdom.folder() == home / folder / "jaxconv"
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    monkeypatch.setattr(sys, "platform", "win32")
    assert wisdom.folder() == Path("/local/jaxconv/Cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, by the standard
    assert wisdom.folder() == Path("/local/jaxconv/Cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert wisdom.folder() == Path("/xdg/jaxconv")


def test_several_processes_have_none(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.add(file, [Record(PROBLEM, {"gemm": 1.0})])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert wisdom.lookup(PROBLEM) is None
    monkeypatch.setattr(jax, "process_count", lambda: pytest.fail("this starts JAX's backends"))
    assert wisdom.lookup(PROBLEM._replace(batch=99)) is None


# ------------------------------------------------------------------------------------------------- compiled programs


def test_a_compiled_program_keeps_its_choice_until_it_is_traced_again(file: Path) -> None:
    traces = []

    @jax.jit
    def f(x: jax.Array, w: jax.Array) -> jax.Array:
        traces.append(choose(PROBLEM))
        return conv(x, w, **OPTIONS)

    records.add(file, [Record(PROBLEM, {"gemm": 1.0, "reference": 2.0})])
    first, text = f(X, W), program()
    records.add(file, [Record(PROBLEM, {"gemm": 2.0, "reference": 1.0})])
    assert jnp.array_equal(f(X, W), first)
    assert (traces, program()) == (["gemm"], text)
    wisdom.reload()
    f(X, W)
    assert traces == ["gemm", "reference"]
    assert program() != text
    use_wisdom(False)
    f(X, W)
    assert len(traces) == 3, "the switch itself drops what was compiled"


def test_the_persistent_cache_holds_both_choices(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "programs"
    small = {"jax_persistent_cache_min_compile_time_secs": 0.0, "jax_persistent_cache_min_entry_size_bytes": -1}
    options = {"jax_compilation_cache_dir": str(folder), **small}
    before = {name: getattr(jax.config, name) for name in options}
    compilation_cache.reset_cache()
    entries = []
    try:
        for name, value in options.items():
            jax.config.update(name, value)
        for least in ("gemm", "reference", "gemm", "reference"):
            records.add(file, [Record(PROBLEM, {"gemm": 2.0, "reference": 2.0, least: 1.0})])
            wisdom.reload()
            jax.jit(lambda x, w: conv(x, w, **OPTIONS)).lower(X, W).compile()
            entries.append(len([each for each in folder.iterdir() if each.name.endswith("-cache")]))
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
    assert entries == [1, 2, 2, 2]


def test_it_is_public() -> None:
    assert jaxconv.use_wisdom is wisdom.use_wisdom
