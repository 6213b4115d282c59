"""Which algorithm serves a call: what `conv_algorithm` says, and what `lowering` does with a name."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import conv, conv_algorithm, conv_input_vjp, conv_transpose, conv_weight_vjp, use_wisdom
from jaxconv.algorithms.choose import ALGORITHMS, unsupported
from jaxconv.algorithms.measured import records, wisdom
from jaxconv.algorithms.measured.records import Record
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import MAPS
from jaxconv.convolution import algorithm
from jaxconv.sizes.geometry import Geometry

pytestmark = pytest.mark.unoptimised

X, W, G = jnp.ones((2, 3, 4, 6, 5)), jnp.ones((6, 2, 3, 2)), jnp.ones((2, 3, 6, 3, 4))  # two batch axes
OPTIONS: dict[str, Any] = {"stride": (2, 1), "padding": [(1, 0), (0, 0)], "groups": 2}
PROBLEM = Problem("conv", Geometry.of("test", (6, 5), (3, 2), **OPTIONS), 2, 3, 6)
CALLS: dict[str, tuple[str, Callable[..., jax.Array]]] = {
    "conv": ("conv", lambda **how: conv(X, W, **OPTIONS, **how)),
    "conv_input_vjp": ("conv_input_vjp", lambda **how: conv_input_vjp(G, W, input_size=(6, 5), **OPTIONS, **how)),
    "conv_weight_vjp": ("conv_weight_vjp", lambda **how: conv_weight_vjp(X, G, kernel_size=(3, 2), **OPTIONS, **how)),
    "conv_transpose": ("conv_input_vjp", lambda **how: conv_transpose(G, W, output_size=(6, 5), **OPTIONS, **how)),
}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Problem]:
    """The problems that an algorithm of the name "none" was asked about; it serves none."""
    asked: list[Problem] = []

    def refuses(problem: Problem) -> str:
        asked.append(problem)
        return "it is a test's"

    monkeypatch.setitem(ALGORITHMS, "none", SimpleNamespace(unsupported=refuses, **dict.fromkeys(MAPS)))
    return asked


@pytest.fixture
def only_y(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple]]:
    """The calls of an algorithm that makes y alone, of two groups: three times the right one."""
    calls = []

    def refuses(problem: Problem) -> str | None:
        return None if problem.which == "conv" and problem.geometry.groups == 2 else "it makes y of two groups alone"

    def value(a: jax.Array, b: jax.Array, geometry: Geometry, precision: Any) -> jax.Array:
        calls.append((a.shape, b.shape))
        return 3 * ALGORITHMS["reference"].conv(a, b, geometry, precision)

    made = SimpleNamespace(unsupported=refuses, conv=value)
    monkeypatch.setitem(ALGORITHMS, "only_y", made)
    yield calls
    jax.clear_caches()


@pytest.mark.parametrize("which", MAPS)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_the_choice_is_of_the_problem_of_the_call(seen: list[Problem], which: str, layout: str) -> None:
    x, w = ((2, 3, 4, 6, 5), (6, 2, 3, 2)) if layout == "channels_first" else ((2, 3, 6, 5, 4), (3, 2, 2, 6))
    choice = conv_algorithm(x, w, which=which, layout=layout, dtype=jnp.bfloat16, **OPTIONS)  # type: ignore[arg-type]
    geometry = Geometry.of("test", (6, 5), (3, 2), **OPTIONS, layout=layout)  # type: ignore[arg-type]
    assert set(seen) == {Problem(which, geometry, 2, 3, 6, "bfloat16")}  # type: ignore[arg-type]
    assert choice.unsupported["none"] == "it is a test's"
    assert set(choice.candidates) <= set(ALGORITHMS) - set(choice.unsupported)
    assert choice.name in choice.candidates
    assert list(choice.candidates.values()) == sorted(choice.candidates.values())
    assert not choice.measured


def test_a_padding_of_copies_is_made_before(seen: list[Problem]) -> None:
    conv_algorithm((2, 9), (3, 2, 4), padding=(1,), padding_mode="edge")
    assert set(seen) == {Problem("conv", Geometry.of("test", (11,), (4,)), 2, 3, 1)}


@pytest.mark.parametrize("least", ["gemm", "reference"])
def test_what_was_measured_is_said(tmp_path: Path, least: str) -> None:
    use_wisdom(tmp_path)
    try:
        file = wisdom.file()
        assert file is not None
        records.add(file, [Record(PROBLEM, {"reference": 0.002, "gemm": 0.002, "gone": 1e-9, least: 0.001})])
        choice = conv_algorithm(X.shape, W.shape, **OPTIONS)
        assert (choice.name, choice.measured, next(iter(choice.candidates))) == (least, True, least)
        assert sorted(choice.candidates.values()) == [0.001, 0.002]
        lines = str(choice).splitlines()
        assert lines[0] == f"conv: {least}; milliseconds of a call, measured on this machine"
        assert lines[1].split() == [least, "1"]
        assert not conv_algorithm(X.shape, W.shape, which="conv_weight_vjp", **OPTIONS).measured
    finally:
        use_wisdom(True)


def test_an_empty_batch_has_the_reference() -> None:
    assert conv_algorithm((0, 2, 9), (3, 2, 4)).name == "reference"


def test_where_there_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algorithm, "partitioned", lambda: True)
    choice = conv_algorithm(X.shape, W.shape, **OPTIONS)
    assert (choice.name, choice.candidates) == ("blocks", {})
    assert set(choice.unsupported) == set(ALGORITHMS) - {"blocks"}
    assert "blocks alone serves" in str(choice)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            {"which": "y"},
            ValueError,
            "`which` must be one of 'conv', .*; got which='y'",
        ),
        ({"pading": 1}, TypeError, "an option must be one of .*; got 'pading': did you mean 'padding'"),
        ({"precision": None}, TypeError, "an option must be one of .*; got 'precision'"),
        ({"dtype": "int32"}, ValueError, "`dtype` must be one of .* got dtype='int32'"),
        ({"dtype": "floaty"}, TypeError, "`dtype` must be one of .* got dtype='floaty'"),
        ({"layout": "NCHW"}, ValueError, "`layout` must be one of"),
        ({"padding_mode": "zero"}, ValueError, "`padding_mode` must be one of .*did you mean 'zeros'"),
        ({"groups": 3}, ValueError, "`groups` must divide the input channels; got groups=3, channels=4"),
        ({"stride": 0}, ValueError, "`stride` must be at least 1; got stride=0"),
        ({"w_shape": (6, 4)}, ValueError, "`w_shape` must have at least one spatial axis"),
        ({"x_shape": 4}, TypeError, "`x_shape` must be a sequence of integers; got x_shape=4"),
        ({"dilation": 9}, ValueError, "must fit|window|padded"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(call: dict, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=rf"^conv_algorithm: .*(?:{message})"):
        conv_algorithm(**{"x_shape": (2, 4, 9), "w_shape": (6, 4, 3), **call})


# --------------------------------------------------------------------------------------------------------- lowering


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("derivative", ["hand", "any"])
def test_one_that_cannot_serve_is_refused_while_tracing(seen: list[Problem], function: str, derivative: str) -> None:
    which, call = CALLS[function]
    message = (
        rf"^{function}: `lowering` must be 'auto' or an algorithm that can serve this call: it is a test's; "
        r"got lowering='none'\."
    )
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(partial(call, lowering="none", derivative=derivative))
    assert seen == [PROBLEM._replace(which=which)]


@pytest.mark.parametrize("function", CALLS)
def test_an_unknown_name_is_told_those_there_are(function: str) -> None:
    names = ", ".join(map(repr, ("auto", *ALGORITHMS)))
    with pytest.raises(ValueError, match=rf"^{function}: `lowering` must be one of {names}; got lowering='magic'\.$"):
        CALLS[function][1](lowering="magic")


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("function", CALLS)
def test_every_algorithm_by_name(function: str, name: str) -> None:
    """Traced: it serves, and so do its derivatives, or says why it cannot."""
    which, call = CALLS[function]
    why = unsupported(name, PROBLEM._replace(which=which))
    if why is None:
        shape = jax.eval_shape(partial(call, lowering=name)).shape
        assert shape == jax.eval_shape(call).shape
    else:
        with pytest.raises(ValueError, match="an algorithm that can serve this call"):
            jax.eval_shape(partial(call, lowering=name))


@pytest.mark.usefixtures("seen")
def test_symbolic_sizes_and_empty_batches_have_the_reference() -> None:
    assert conv(X[:, :0], W, **OPTIONS, lowering="none").shape == (2, 0, 6, 3, 4)
    (n,) = jax.export.symbolic_shape("n")
    x = jax.ShapeDtypeStruct((n, 4, 6, 5), jnp.float32)
    w = jax.ShapeDtypeStruct(W.shape, W.dtype)
    exported = jax.export.export(jax.jit(partial(conv, **OPTIONS, lowering="none")))(x, w)
    assert exported.out_avals[0].shape[1:] == (6, 3, 4)


@pytest.mark.parametrize("derivative", ["hand", pytest.param("any", marks=pytest.mark.slow)])
def test_a_derivative_that_it_lacks_is_made_by_another(only_y: list[tuple], derivative: str) -> None:
    f = partial(conv, **OPTIONS, derivative=derivative)
    value, pull = jax.vjp(partial(f, lowering="only_y"), X, W)
    right, right_pull = jax.vjp(partial(f, lowering="reference"), X, W)
    np.testing.assert_allclose(value, 3 * right, rtol=1e-6)
    for made, wanted in zip(pull(G), right_pull(G), strict=True):
        np.testing.assert_allclose(made, wanted, rtol=1e-6)
    assert set(only_y) == {((6, 4, 6, 5), (6, 2, 3, 2))}


def test_what_vmap_makes_of_it_and_it_cannot_serve_is_made_by_another(only_y: list[tuple]) -> None:
    """Mapped images join the batch, which it can; images and kernels, the groups, which it cannot."""
    f = partial(conv, **OPTIONS)
    images = jax.vmap(partial(f, lowering="only_y"), (0, None))(X, W)
    np.testing.assert_allclose(images, 3 * f(X, W, lowering="reference"), rtol=1e-6)
    kernels = jnp.stack([W, 2 * W])
    both = jax.vmap(partial(f, lowering="only_y"))(X, kernels)
    np.testing.assert_allclose(both, jax.vmap(partial(f, lowering="reference"))(X, kernels), rtol=1e-6)
