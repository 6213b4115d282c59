"""A report drawn with matplotlib: for each input what the rule gave, what is right, and how far apart they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxconv.accuracy.error_model import C
from jaxconv.accuracy.heat import Heat, pooled
from jaxconv.check.faces.page import MOST_PICTURES, heat_of
from jaxconv.check.faces.report import VjpReport, VjpRow, place


def plot(report: VjpReport) -> Any:
    """Three heat maps for each input, the wrong ones first; large arrays block by block. Shows nothing.

    Returns:
        A matplotlib Figure.
    """
    try:
        from matplotlib import pyplot as plt

        from jaxconv.plot.style import ground, ink
    except ImportError as error:
        raise ImportError("VjpReport.plot: needs matplotlib; pip install 'jaxconv[check]'") from error
    rows = sorted((row for row in report.rows if heat_of(row) is not None), key=lambda row: row.passed)[:MOST_PICTURES]
    figure = plt.figure(figsize=(11, 0.6 + 2.6 * max(len(rows), 1)), layout="constrained", facecolor=ground())
    figure.suptitle(f"check_vjp of {report.name}: {report.outcome}", color=ink())
    if not rows:
        figure.text(0.5, 0.4, "No picture: no input was compared element by element.", ha="center", color=ink())
    for axes, row in zip(figure.subplots(len(rows), 3, squeeze=False) if rows else (), rows, strict=True):
        _draw(figure, axes, row)
    return figure


def _draw(figure: Any, axes: Any, row: VjpRow) -> None:
    heat = heat_of(row)
    assert heat is not None
    arrays = {"the rule gave": row.got_array, "right": row.expected_array}
    cells = {name: _pooled(array, heat) for name, array in arrays.items() if array is not None}
    finite = [np.abs(each[np.isfinite(each)]) for each in cells.values()]
    top = max((each.max() for each in finite if each.size), default=0.0) or 1.0
    for ax, name in zip(axes, arrays, strict=False):
        ax.set(title=f"{name}: {row.input}", xlabel=f"across: {heat.across}", ylabel=f"down: {heat.down}")
        if name in cells:
            figure.colorbar(ax.imshow(cells[name], cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto"), ax=ax)
        else:
            ax.text(0.5, 0.5, "not known element by element", ha="center", transform=ax.transAxes)
    ax = axes[2]
    digits = np.log10(np.clip(np.nan_to_num(heat.cells, nan=np.inf), 1e-3, 1e12) / C)
    span = max(3.0, float(np.abs(digits).max()))
    image = ax.imshow(digits, cmap="PuOr_r", vmin=-span, vmax=span, aspect="auto")
    figure.colorbar(image, ax=ax, label="powers of ten; above 0 wrong")
    ax.set(title="distance / what is just right", xlabel=f"across: {heat.across}", ylabel=f"down: {heat.down}")
    if not row.passed:
        worst = np.nan_to_num(heat.cells, nan=np.inf)  # the digits end at what the colours do
        down, across = np.unravel_index(int(np.argmax(worst)), worst.shape)
        ax.plot(across, down, "x", color="black", ms=9, mew=2)
        ax.annotate(place(row), (across, down), xytext=(0.02, 1.18), textcoords="axes fraction", fontsize=8)
    for ax in axes:
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.yaxis.get_major_locator().set_params(integer=True)


def _pooled(array: Any, heat: Heat) -> np.ndarray:
    """The cells of a picture, each the value of largest modulus in its block; of complex numbers the modulus."""
    values = np.asarray(array)
    real = np.abs(values) if np.iscomplexobj(values) else values.astype(np.float64)
    cells = real.reshape(int(np.prod(heat.shape[: heat.split])), -1)
    high, low = pooled(cells, np.maximum), pooled(cells, np.minimum)
    return np.where(high >= -low, high, low)
