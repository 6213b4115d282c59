"""The diagram of one step of the gated cell, for whatever draws it; imports neither jax nor matplotlib.

    c[t] = σ(W_c x[t] + W_h h[t−1]),   h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ W_x x[t]

The arrows are what the equations read and write. Places are in units of the drawing, y upwards; texts between dollars
are mathematics as TeX and matplotlib write it.
"""

from __future__ import annotations

Point = tuple[float, float]

NODES: dict[str, tuple[Point, str]] = {
    "W_h": ((2.6, 3.8), "$W_h$"),
    "W_c": ((2.6, 2.6), "$W_c$"),
    "W_x": ((6.6, 0.9), "$W_x$"),
    "gate": ((5.3, 3.2), r"$\sigma$"),
    "rest": ((8.3, 3.2), "$1 - c$"),
    "pre": ((4.1, 3.2), "+"),
    "keep": ((6.6, 5.2), r"$\odot$"),
    "write": ((10.0, 3.2), r"$\odot$"),
    "sum": ((10.0, 5.2), "+"),
}
WIRES: tuple[tuple[str, str, tuple[Point, ...]], ...] = (
    ("h", "keep", ((1.0, 5.2), (6.32, 5.2))),
    ("keep", "sum", ((6.88, 5.2), (9.72, 5.2))),
    ("sum", "h_next", ((10.28, 5.2), (11.9, 5.2))),
    ("h", "W_h", ((1.6, 5.2), (1.6, 3.8), (2.07, 3.8))),
    ("W_h", "pre", ((3.13, 3.8), (4.1, 3.8), (4.1, 3.48))),
    ("x", "W_c", ((1.6, 0.9), (1.6, 2.6), (2.07, 2.6))),
    ("W_c", "pre", ((3.13, 2.6), (4.1, 2.6), (4.1, 2.92))),
    ("pre", "gate", ((4.38, 3.2), (4.77, 3.2))),
    ("gate", "rest", ((5.83, 3.2), (7.77, 3.2))),
    ("gate", "keep", ((6.6, 3.2), (6.6, 4.92))),
    ("rest", "write", ((8.83, 3.2), (9.72, 3.2))),
    ("x", "W_x", ((1.0, 0.9), (6.07, 0.9))),
    ("W_x", "write", ((7.13, 0.9), (10.0, 0.9), (10.0, 2.92))),
    ("write", "sum", ((10.0, 3.48), (10.0, 4.92))),
)
NAMES: tuple[tuple[Point, str, str], ...] = (
    ((0.9, 5.2), "$h[t-1]$ ($m$)", "right"),
    ((0.9, 0.9), "$x[t]$ ($n$)", "right"),
    ((12.0, 5.2), "$h[t]$ ($m$)", "left"),
    ((6.75, 2.55), "$c[t]$ ($m$)", "left"),
    ((7.3, 1.2), "$v[t]$ ($m$)", "left"),
    ((8.3, 5.5), "what is kept", "center"),
    ((10.2, 4.2), "what is written", "left"),
)
