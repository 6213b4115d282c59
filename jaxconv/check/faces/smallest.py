"""The smallest arguments for which a rule is wrong, as code to paste. Hypothesis does the shrinking."""

from __future__ import annotations

import contextlib
import inspect
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.check.core import check_vjp
from jaxconv.check.faces.report import VjpReport
from jaxconv.sizes.arguments import integer, wrong_kind

LARGEST = 6  # of a size that is drawn


class Snippet(str):
    """Code that fails as it stands, from `smallest_failure`.

    Attributes:
        args: the arguments.
        report: what `check_vjp` found with them.
    """

    args: tuple
    report: VjpReport

    def __repr__(self) -> str:
        return str(self)


def smallest_failure(
    f: Callable[..., Any],
    draw: Any,
    reference: Callable[..., Any] | None = None,
    *,
    examples: int = 30,
    seconds: float = 60.0,
    directions: int = 8,
    seed: int = 0,
) -> Snippet | None:
    """The smallest arguments that show a rule to be wrong.

        argmin |args|  over the args drawn with  not check_vjp(f, *args).passed

    Args:
        f: a function with a rule of its own.
        draw: what makes arguments: a Hypothesis strategy of tuples of arguments, or a function of sizes,
            integers from 1 up, that returns a tuple of float32 shapes, one per argument:
            ``lambda n, m: ((n, m), (m,))``.
        reference: the same function without the rule, as in `check_vjp`.
        examples: how many arguments to draw before the rule counts as right.
        seconds: stop after this long, with the smallest found so far; each new shape is compiled.
        directions: as in `check_vjp`.
        seed: as in `check_vjp`.

    Returns:
        A string of Python that fails as it is pasted, with the attributes `args` and `report`; None where no
        arguments were found for which the rule is wrong. Arguments that f itself refuses are passed over.

    Raises:
        ImportError: Hypothesis is not there.
        TypeError: `draw` is neither; `examples` is no integer.
        ValueError: `examples` is below 1, or no arguments suited f.

    Source:
        D. R. MacIver and A. F. Donaldson, "Test-Case Reduction via Test-Case Generation", ECOOP 2020.

    >>> import jax
    >>> @jax.custom_vjp
    ... def double(x):
    ...     return 2 * x
    >>> double.defvjp(lambda x: (2 * x, None), lambda _, g: (3 * g,))
    >>> smallest_failure(double, lambda n: ((n,),)).args[0].shape
    (1,)
    """
    try:
        import hypothesis
    except ImportError as error:
        raise ImportError("smallest_failure: needs hypothesis; pip install 'jaxconv[check]'") from error
    examples = integer("smallest_failure", "examples", examples, least=1)
    search = _Search(f, {"reference": reference, "directions": directions, "seed": seed}, time.monotonic() + seconds)
    with jax.transfer_guard("allow"):  # what is drawn on the host
        if isinstance(draw, hypothesis.strategies.SearchStrategy):
            search.go(draw, examples)
        else:
            search.go(_any_values(draw), examples)  # sizes first: whatever has other shapes is compiled anew
            if search.best is not None:
                search.go(_simple_values([arg.shape for arg in search.best[0]]), 100)
    if not search.suited and not search.ended:
        raise ValueError(
            f"smallest_failure: `draw` must make arguments that f takes; the last were refused: {search.refusal}"
        )
    if search.best is None:
        return None
    notes = [f"# stopped after {seconds:g} s: there may be a smaller one"] if search.ended else []
    with jax.transfer_guard("allow"):
        return _snippet(f, reference, *search.best, notes, directions=directions, seed=seed)


class _OutOfTime(BaseException):
    """Ends the search from inside; no Exception, which Hypothesis would take for a finding."""


class _Search:
    """Judges arguments, and keeps the smallest wrong ones."""

    def __init__(self, f: Callable[..., Any], options: dict[str, Any], end: float) -> None:
        self.f, self.options, self.end = f, options, end
        self.best: tuple[tuple, VjpReport] | None = None
        self.smallest: tuple[int, int] | None = None
        self.suited, self.ended, self.refusal = 0, False, ""

    def go(self, strategy: Any, examples: int) -> None:
        """Let Hypothesis find and shrink; the smallest found stays where nothing better comes or time is up."""
        import hypothesis

        phases = (hypothesis.Phase.generate, hypothesis.Phase.shrink)
        settings = hypothesis.settings(
            max_examples=examples, database=None, derandomize=True, deadline=None, phases=phases,
            suppress_health_check=list(hypothesis.HealthCheck), verbosity=hypothesis.Verbosity.quiet,
        )  # fmt: skip
        with contextlib.suppress(_OutOfTime, hypothesis.errors.NoSuchExample):
            self.best = self.judged(hypothesis.find(strategy, self.fails, settings=settings))

    def judged(self, args: tuple) -> tuple[tuple, VjpReport]:
        return args, check_vjp(self.f, *args, transforms=False, progress=False, **self.options)

    def fails(self, args: Any) -> bool:
        if not isinstance(args, tuple):
            wrong_kind("smallest_failure", "`draw` must make tuples of arguments", f"a {type(args).__name__}")
        if time.monotonic() > self.end:
            self.ended = True
            raise _OutOfTime
        try:
            jax.eval_shape(lambda: self.f(*args))
        except jax.errors.ConcretizationTypeError:
            pass  # it branches on values
        except Exception as error:  # arguments that do not fit together are not what is looked for
            self.refusal = f"{type(error).__name__}: {error}"
            return False
        self.suited += 1
        found = self.judged(args)
        size = sum(np.size(leaf) for leaf in jax.tree.leaves(args)), len(_code(args, set()))
        wrong = found[1].outcome == "WRONG"  # what cannot be judged is no failure
        if wrong and (self.smallest is None or size < self.smallest):
            self.best, self.smallest = found, size
        return wrong


def _any_values(shapes: Any) -> Any:
    """The strategy of arguments with the shapes that a function of sizes gives, their values without a pattern."""
    from hypothesis import strategies as st

    if not callable(shapes):
        wrong_kind(
            "smallest_failure", "`draw` must be a Hypothesis strategy or a function of sizes", f"draw={shapes!r}"
        )

    def made(sizes: tuple[int, ...]) -> tuple:
        of = shapes(*sizes)
        if not isinstance(of, tuple) or not all(isinstance(shape, tuple) for shape in of):
            wrong_kind("smallest_failure", "`draw` must return a tuple of shapes, one per argument", f"{of!r}")
        random = np.random.default_rng(0)
        return tuple(jnp.asarray(random.normal(size=shape), jnp.float32) for shape in of)

    names = inspect.signature(shapes).parameters
    return st.tuples(*(st.integers(1, LARGEST) for _ in names)).map(made)


def _simple_values(shapes: list[tuple[int, ...]]) -> Any:
    """The strategy of arguments of these shapes, whose values shrink to simple ones."""
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as arrays

    values = st.floats(-2, 2, width=32, allow_subnormal=False)
    return st.tuples(*(arrays.arrays(np.float32, shape, elements=values).map(jnp.asarray) for shape in shapes))


def _snippet(f: Any, reference: Any, args: tuple, report: VjpReport, notes: list[str], **options: Any) -> Snippet:
    imports = {"import jax.numpy as jnp", "from jaxconv import assert_vjp"}
    named = _name(f, "f", imports)
    against = None if reference is None else _name(reference, "reference", imports)
    others = "" if against is None else f", reference={against}"
    for name, otherwise, value in ((named, "f", f), (against, "reference", reference)):
        if name == otherwise != getattr(value, "__name__", ""):
            notes = [*notes, f"# {name}: the function that was checked; it has no name to be imported by"]
    code = _code(args, imports)
    settings = "".join(f", {name}={value!r}" for name, value in options.items())
    call = f"assert_vjp({named}, *args{others}{settings}, transforms=False)"
    ordered = sorted(imports, key=lambda line: (line.startswith("from"), line))
    text = Snippet("\n".join([*notes, *ordered, "", f"args = {code}", call, ""]))
    text.args, text.report = args, report
    return text


def _name(value: Any, otherwise: str, imports: set[str]) -> str:
    """The name under which code finds a function; one that cannot be imported is taken to be there already."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", getattr(value, "__name__", None))
    if not isinstance(module, str) or not isinstance(name, str) or not name.isidentifier():
        return otherwise
    if module != "__main__":
        imports.add(f"from {module} import {name}")
    return name


def _code(value: Any, imports: set[str]) -> str:
    """Python that makes `value` again."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_code(each, imports)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        inside = ", ".join(f"{name}={_code(each, imports)}" for name, each in zip(value._fields, value, strict=True))
        return f"{_name(type(value), type(value).__name__, imports)}({inside})"
    if isinstance(value, (tuple, list)):
        inside = ", ".join(_code(each, imports) for each in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        imports.add("import jax")
        data = _code(jax.random.key_data(value), imports)
        return f"jax.random.wrap_key_data({data}, impl={str(jax.random.key_impl(value))!r})"
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        array = np.asarray(value)
        if not array.size:
            return f"jnp.zeros({array.shape}, {array.dtype.name!r})"
        values = re.sub("(nan|inf)", r"jnp.\1", repr(array.tolist()))
        return f"jnp.asarray({values}, {array.dtype.name!r})"
    return repr(value)
