"""Convolutions for Hypothesis to draw."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


@st.composite
def axes(draw: st.DrawFn) -> dict[str, Any]:
    """One spatial axis: size, kernel, stride, padding and dilation of which at least one window fits."""
    n, k = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    s, d = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    lo = draw(st.integers(-2, 4))
    least = max(d * (k - 1) + 1 - n - lo, -2)
    hi = draw(st.integers(least, max(least, 4)))
    return {"size": n, "kernel": k, "stride": s, "padding": (lo, hi), "dilation": d}


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of x and w, and the options."""
    drawn = draw(st.lists(axes(), min_size=1, max_size=2))
    per_axis = {name: tuple(axis[name] for axis in drawn) for name in drawn[0]}
    n, k = per_axis.pop("size"), per_axis.pop("kernel")
    few = st.integers(1, 2)
    groups, per_group, out, batch = draw(st.integers(1, 3)), draw(few), draw(few), draw(st.integers(0, 2))
    channels_last = draw(st.booleans())
    options = {**per_axis, "groups": groups, "layout": "channels_last" if channels_last else "channels_first"}
    if channels_last:
        return (batch, *n, groups * per_group), (*k, per_group, groups * out), options
    return (batch, groups * per_group, *n), (groups * out, per_group, *k), options
