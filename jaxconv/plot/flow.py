"""The norm of the state's Jacobians over time, as `gradient_flow` gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxconv.arguments import wrong_value
from jaxconv.plot.style import BLUE, LINES, VERMILION, axes_or_new, colour, ink

MARKERS = ("^", "s", "o", "D", "v", "P")


def flow(flows: Mapping[str, Any], *, ax: Axes | None = None) -> Axes:
    """How gradients fare on their way back through time, one line per regime.

        ‖∂h[T]/∂h[t]‖₂ over t = 0 … T, as a power of ten

    Args:
        flows: name → `GradientFlow` of a single sequence (norms of shape (T+1,)).
        ax: where to draw; None: a new figure.

    Returns:
        The Axes. Drawn from `log_norms`, so that no length of the sequence leaves the picture.

    Raises:
        ValueError: norms of several sequences at once.

    Source: `gradient_flow`.

    >>> import jax.numpy as jnp
    >>> from jaxconv import GatedParams, gradient_flow
    >>> half = GatedParams(jnp.zeros((1, 1)), None, jnp.zeros((1, 1)))
    >>> flow({"vanish": gradient_flow(half, jnp.zeros((3, 1)))}).get_xlabel()
    'time t (steps); the gradient travels from right to left'
    """
    import jax  # not above: all other pictures are drawn without it

    ax = axes_or_new(ax, 8.5, 4.2)
    tones = [VERMILION, ink(), BLUE]
    for number, (name, each) in enumerate(flows.items()):
        logs = np.asarray(jax.device_get(each.log_norms), np.float64) / np.log(10)
        if logs.ndim != 1:
            wrong_value("flow", f"`flows[{name!r}]` must be that of one sequence", f"norms.shape={logs.shape}")
        look: dict[str, Any] = {"linestyle": LINES[number % 6], "marker": MARKERS[number % 6], "markersize": 5}
        tone = tones[number] if number < 3 else colour(number)
        ax.plot(range(len(logs)), logs, color=tone, label=name, markevery=max(len(logs) // 10, 1), **look)
    ax.axhline(0, color=ink(), linewidth=0.8, linestyle=LINES[3])
    ax.set_xlabel("time t (steps); the gradient travels from right to left")
    ax.set_ylabel("log₁₀ ‖∂h[T]/∂h[t]‖₂  (powers of ten)")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
