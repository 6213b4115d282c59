"""The house rules, read off every public name: signatures, order of options, docstrings."""

import inspect

import pytest

import jaxconv

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
    "precision=None, lowering='auto'",
    "conv_weight_vjp": "x, g, *, kernel_size, stride=1, padding=0, dilation=1, groups=1, layout='channels_first', "
    "precision=None, lowering='auto'",
    "conv_transpose": "x, w, b=None, *, stride=1, padding=0, output_padding=0, output_size=None, dilation=1, groups=1, "
    "layout='channels_first', precision=None, derivative='hand', lowering='auto'",
    "conv_input_jacobian": "x, w, **options",
    "conv_weight_jacobian": "x, w, **options",
    "gated_step": "params, h, x",
    "gated_scan": "params, x, h0=None, *, lengths=None, reverse=False, time_axis=0, unroll=1, "
    "residuals='recompute', derivative='hand'",
    "gated_step_jacobian": "params, h, x",
    "gradient_flow": "params, x, h0=None",
}


def plain(function) -> str:
    """A signature without its annotations."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare)).strip("()")


@pytest.mark.parametrize("name", CONTRACT)
def test_signature_is_the_contract(name):
    assert plain(getattr(jaxconv, name)) == CONTRACT[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keyword_only_and_in_order(name):
    parameters = inspect.signature(getattr(jaxconv, name)).parameters.values()
    options = [p for p in parameters if p.name in ORDER]
    assert all(p.kind is p.KEYWORD_ONLY for p in options)
    assert [p.name for p in options] == sorted((p.name for p in options), key=ORDER.index)


@pytest.mark.parametrize("name", jaxconv.__all__)
def test_docstring_says_all(name):
    text = inspect.getdoc(getattr(jaxconv, name)) or ""
    assert ">>>" in text, "one example"
    if name in FUNCTIONS:
        for section in ("Args:", "Returns:", "Raises:", "Source:"):
            assert section in text, section
        assert "\n    " in text.split("Args:")[0], "the formula, indented"


def test_every_name_is_there_and_no_other_is():
    assert sorted(set(dir(jaxconv)) - {"__version__"}) == jaxconv.__all__
    with pytest.raises(AttributeError, match="no attribute 'convolve'"):
        _ = jaxconv.convolve
