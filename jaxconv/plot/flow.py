"""The norm of the state's Jacobians over time, as `gradient_flow` gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxconv.plot.style import LINES, axes_or_new, colour, ink
from jaxconv.recurrence.flow import GradientFlow
from jaxconv.sizes.arguments import wrong_kind, wrong_value
from jaxconv.terminal.palette import BLUE, VERMILION

MARKERS = ("^", "s", "o", "D", "v", "P")


def flow(flows: GradientFlow | Mapping[str, GradientFlow], *, ax: Axes | None = None) -> Axes:
    """How gradients fare on their way back through time, one line per regime.

        ‖∂h[T]/∂h[t]‖₂ over t = 0 … T, as a power of ten

    Args:
        flows: a `GradientFlow` of a single sequence (norms of shape (T+1,)), or several of them, name → `GradientFlow`.
        ax: where to draw; None: a new figure.

    Returns:
        The Axes. Drawn from `log_norms`, so that no length of the sequence leaves the picture.

    Raises:
        TypeError: `flows` is neither.
        ValueError: norms of several sequences at once.

    Source: `gradient_flow`.

    >>> import jax.numpy as jnp
    >>> from jaxconv import GatedParams, gradient_flow
    >>> half = GatedParams(jnp.zeros((1, 1)), None, jnp.zeros((1, 1)))
    >>> flow({"vanish": gradient_flow(half, jnp.zeros((3, 1)))}).get_xlabel()
    'time t (steps); the gradient travels from right to left'
    """
    import jax  # not above: all other pictures are drawn without it

    alone = isinstance(flows, GradientFlow)
    if not alone and not isinstance(flows, Mapping):
        rule = "`flows` must be a GradientFlow, or a mapping from names to GradientFlows"
        wrong_kind("flow", rule, f"flows of type {type(flows).__name__}")
    named = {"flows": flows} if isinstance(flows, GradientFlow) else {f"flows[{k!r}]": v for k, v in flows.items()}
    lines = []
    for name, each in named.items():
        if not isinstance(each, GradientFlow):
            wrong_kind("flow", f"`{name}` must be a GradientFlow", f"{name} of type {type(each).__name__}")
        lines.append(np.asarray(jax.device_get(each.log_norms), np.float64) / np.log(10))
        if lines[-1].ndim != 1:
            wrong_value("flow", f"`{name}` must be that of one sequence", f"norms.shape={lines[-1].shape}")
    ax = axes_or_new(ax, 8.5, 4.2)
    tones = [VERMILION, ink(), BLUE]
    labels = [None] if isinstance(flows, GradientFlow) else list(flows)
    for number, (label, logs) in enumerate(zip(labels, lines, strict=True)):
        look: dict[str, Any] = {"linestyle": LINES[number % 6], "marker": MARKERS[number % 6], "markersize": 5}
        tone = tones[number] if number < 3 else colour(number)
        ax.plot(range(len(logs)), logs, color=tone, label=label, markevery=max(len(logs) // 10, 1), **look)
    ax.axhline(0, color=ink(), linewidth=0.8, linestyle=LINES[3])
    ax.set_xlabel("time t (steps); the gradient travels from right to left")
    ax.set_ylabel("log₁₀ ‖∂h[T]/∂h[t]‖₂  (powers of ten)")
    if lines and not alone:
        ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
