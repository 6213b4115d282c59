"""The house rules, read off every public name: signatures, order of options, docstrings."""

import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import jaxconv

LAX = ("conv_general_dilated",)  # has lax's signature, argument for argument
FUNCTIONS = [name for name in jaxconv.__all__ if inspect.isfunction(getattr(jaxconv, name))]
ORDER = ["stride", "padding", "output_padding", "output_size", "dilation", "groups", "layout"]
CONTRACT = {
    "output_size": "size, kernel, *, stride=1, padding=0, dilation=1",
    "output_shape": "x_shape, w_shape, *, stride=1, padding=0, dilation=1, groups=1, layout='channels_first'",
    "transpose_output_size": "size, kernel, *, stride=1, padding=0, output_padding=0, dilation=1",
    "input_sizes": "output, kernel, *, stride=1, padding=0, dilation=1",
    "same_padding": "size, kernel, *, stride=1, dilation=1, lower=False",
    "conv": "x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, layout='channels_first', "
    "padding_mode='zeros', precision=None, derivative='hand', lowering='auto'",
    "conv_input_vjp": "g, w, *, input_size, stride=1, padding=0, dilation=1, groups=1, layout='channels_first', "
    "precision=None, derivative='hand', lowering='auto'",
    "conv_weight_vjp": "x, g, *, kernel_size, stride=1, padding=0, dilation=1, groups=1, layout='channels_first', "
    "precision=None, derivative='hand', lowering='auto'",
    "conv_transpose": "x, w, b=None, *, stride=1, padding=0, output_padding=0, output_size=None, dilation=1, groups=1, "
    "layout='channels_first', padding_mode='zeros', precision=None, derivative='hand', lowering='auto'",
    "conv_algorithm": "x_shape, w_shape, *, which='conv', dtype='float32', **options",
    "conv_input_jacobian": "x, w, **options",
    "conv_weight_jacobian": "x, w, **options",
    "gated_step": "params, h, x",
    "gated_scan": "params, x, h0=None, *, lengths=None, reverse=False, time_axis=0, unroll=1, "
    "residuals='recompute', derivative='hand'",
    "gated_scan_both": "forward, backward, x, h0=None, **options",
    "gated_step_jacobian": "params, h, x",
    "causal_conv": "x, w, b=None, state=None",
    "gru_from": "weights, library, *, suffix='_l0'",
    "gru_to": "params, library, *, reset='after', suffix='_l0'",
    "lstm_from": "weights, library, *, suffix='_l0'",
    "lstm_to": "params, library, *, suffix='_l0'",
    "gated_init": "key, n, m, *, bias=True, memory=None, dtype=<class 'jax.numpy.float32'>",
    "gru_init": "key, n, m, *, bias=True, memory=None, dtype=<class 'jax.numpy.float32'>",
    "gru_step": "params, h, x, *, reset='after'",
    "gru_scan": "params, x, h0=None, *, reset='after', lengths=None, reverse=False, time_axis=0, unroll=1, "
    "residuals='recompute', derivative='hand'",
    "gru_scan_both": "forward, backward, x, h0=None, **options",
    "gru_step_jacobian": "params, h, x, *, reset='after'",
    "lstm_init": "key, n, m, *, bias=True, memory=None, dtype=<class 'jax.numpy.float32'>",
    "lstm_step": "params, h, x",
    "lstm_scan": "params, x, h0=None, *, lengths=None, reverse=False, time_axis=0, unroll=1, "
    "residuals='recompute', derivative='hand'",
    "lstm_scan_both": "forward, backward, x, h0=None, **options",
    "lstm_step_jacobian": "params, h, x",
    "gradient_flow": "params, x, h0=None, *, reset='after'",
    "accelerate": "",
}


def plain(function) -> str:
    """A signature without its annotations."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare)).strip("()")


@pytest.mark.parametrize("name", CONTRACT)
def test_signature_is_the_contract(name):
    assert plain(getattr(jaxconv, name)) == CONTRACT[name]


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in LAX])
def test_options_are_keyword_only_and_in_order(name):
    parameters = inspect.signature(getattr(jaxconv, name)).parameters.values()
    options = [p for p in parameters if p.name in ORDER]
    assert all(p.kind is p.KEYWORD_ONLY for p in options)
    assert [p.name for p in options] == sorted((p.name for p in options), key=ORDER.index)


def entries(text: str, section: str) -> list[str]:
    """The names that a section of a docstring explains."""
    _, found, after = text.partition(f"{section}:\n")
    assert found, section
    names = re.findall(r"^    (\S.*?):", after.split("\n\n")[0], re.MULTILINE)
    return sorted(name.strip(" *") for line in names for name in line.split(","))


def arguments(function) -> list[str]:
    return sorted(name for name in inspect.signature(function).parameters if name not in ("self", "cls"))


# Why a public name has no formula of its own.
NO_FORMULA = {
    "ConvCost": "three numbers that `conv_cost` counts, by the formula that stands there",
    "OperationCost": "likewise",
    "use_wisdom": "a switch",
}


@pytest.mark.parametrize("name", jaxconv.__all__)
def test_docstring_says_all(name):
    public = getattr(jaxconv, name)
    text = inspect.getdoc(public) or ""
    before = re.split(r"^(?:Args|Attributes):", text, maxsplit=1, flags=re.MULTILINE)[0]
    assert bool(re.search(r"\n\n    \S", before)) != (name in NO_FORMULA), "a formula, indented, or a reason why not"
    assert re.search(r"^>>> ", text, re.MULTILINE), "one example"
    if inspect.isfunction(public):
        assert (entries(text, "Args") if arguments(public) else []) == arguments(public)
        for section in ("Returns:", "Raises:", "Source:"):
            assert section in text, section
    elif inspect.isclass(public):
        assert entries(text, "Attributes") == sorted(typing.get_type_hints(public))


CLASSES = [name for name in jaxconv.__all__ if inspect.isclass(getattr(jaxconv, name))]


@pytest.mark.parametrize("name", CLASSES)
def test_methods_are_documented(name):
    for method, value in vars(getattr(jaxconv, name)).items():
        function = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
        if method.startswith("_") or not inspect.isfunction(function):
            continue
        text = inspect.getdoc(function) or ""
        assert text, method
        if arguments(function):
            assert entries(text, "Args") == arguments(function)
            assert "Returns:" in text, method


def test_every_name_is_there_and_no_other_is():
    assert sorted(set(dir(jaxconv)) - {"__version__"}) == jaxconv.__all__
    with pytest.raises(AttributeError, match="no attribute 'convolve'"):
        _ = jaxconv.convolve


def in_a_fresh_process(program: str) -> str:
    """What the program prints."""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1]
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.strip()


def test_no_module_takes_the_place_of_a_public_name():
    """Importing a submodule sets an attribute of its package; each public name is what it was before."""
    program = """
import pkgutil
from importlib import import_module

import jaxconv

before = {name: getattr(jaxconv, name) for name in jaxconv.__all__}
for module in pkgutil.walk_packages(jaxconv.__path__, "jaxconv."):
    if module.name.endswith("__main__") or module.name.startswith("jaxconv.bench.peers"):  # these run
        continue
    try:
        import_module(module.name)
    except ModuleNotFoundError as error:  # an extra is missing
        assert not error.name.startswith("jaxconv"), error
after = {name: getattr(jaxconv, name) for name in jaxconv.__all__}
print([name for name, value in after.items() if value is not before[name]])
print([name for name, value in after.items() if type(value) is type(jaxconv)])
"""
    assert in_a_fresh_process(program) == "[]\n[]"


def test_a_public_name_is_the_same_when_its_modules_came_first():
    """A name is looked up when it is first used, by then a module of that name may stand in its place."""
    program = """
import pkgutil
from importlib import import_module

import jaxconv

for module in pkgutil.iter_modules(jaxconv.__path__, "jaxconv."):
    if module.ispkg:
        import_module(module.name)
print([name for name in jaxconv.__all__ if type(getattr(jaxconv, name)) is type(jaxconv)])
"""
    assert in_a_fresh_process(program) == "[]"


def test_sizes_bring_no_jax():
    program = """
import pkgutil, sys
from importlib import import_module

import jaxconv.sizes

for module in pkgutil.iter_modules(jaxconv.sizes.__path__, "jaxconv.sizes."):
    import_module(module.name)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"jax", "jaxlib"}))
"""
    assert in_a_fresh_process(program) == "[]"
