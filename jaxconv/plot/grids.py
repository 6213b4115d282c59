"""Two spatial axes as two grids: the padded input at the left, the output at the right."""

from __future__ import annotations

from matplotlib.axes import Axes

from jaxconv.plot.style import axes_or_new, bare, cell_inches, ink, marks_told, square
from jaxconv.sizes.connections import Position, connections, inside
from jaxconv.sizes.geometry import Geometry
from jaxconv.terminal.palette import ARRAYS

Marked = dict[Position, Position]  # a cell, and the numbers that stand in it


def grids(
    function: str,
    geometry: Geometry,
    inputs: Marked,
    outputs: Marked,
    numbers: str,
    ax: Axes | None,
    *,
    names: tuple[str, str] = ("input j", "output p"),
) -> Axes:
    """The padded input at the left, the output at the right; marked cells are filled and hold their `numbers`."""
    (h, w), ((top, bottom), (left, right)) = geometry.input_size, geometry.padding
    rows, columns = range(min(-top, 0), max(h + bottom, h)), range(min(-left, 0), max(w + right, w))
    m_h, m_w = geometry.output_size
    inches = cell_inches(function, "geometry", max(len(columns) + m_w + 2, len(rows)), 0.55)
    gap, down = columns[-1] + 2, rows[0] + (len(rows) - m_h) // 2
    ax = axes_or_new(ax, max(inches * (len(columns) + m_w + 3) + 0.5, 5), inches * (max(len(rows), m_h) + 1.5) + 1.8)
    size = 8 if inches > 0.4 else 6
    used = {c.j for c in connections(geometry)}
    for j in ((r, c) for r in rows for c in columns):
        kind = "padding" if not inside(geometry, j) else "plain" if j in used else "unread"
        _cell(ax, (j[1], j[0]), j, inputs, 0, kind, size)
    for p in ((r, c) for r in range(m_h) for c in range(m_w)):
        _cell(ax, (gap + p[1], down + p[0]), p, outputs, 1, "plain", size)
    ax.set(xlim=(columns[0] - 0.7, gap + m_w - 0.3), aspect="equal")
    first, last = min(rows[0], down), max(rows[-1], down + m_h - 1)
    ax.set_ylim(last + 0.7, first - 1.5)
    for text, x, y in zip(names, (columns[0] - 0.45, gap - 0.45), (rows[0], down), strict=True):
        ax.text(x, y - 0.6, text, ha="left", va="bottom", fontsize=9, color=ink())
    for r in range(m_h):
        ax.text(gap - 0.8, down + r, str(r), ha="center", va="center", fontsize=size, color=ink())
    ax.set_xticks([*columns, *range(gap, gap + m_w)], [*map(str, columns), *map(str, range(m_w))], fontsize=size)
    ax.set_yticks(list(rows), list(map(str, rows)), fontsize=size)
    ax.set_xlabel("\n".join(filter(None, ["column (position)", f"in the cells: {numbers}", marks_told(ax)])))
    ax.set_ylabel("row (position)")
    bare(ax)
    return ax


def _cell(ax: Axes, at: tuple[int, int], number: Position, marked: Marked, which: int, kind: str, size: float) -> None:
    text = name(marked[number]) if number in marked else ""
    fill = ARRAYS["xy"[which]] if number in marked else None
    square(ax, *at, text, fill=fill, kind=kind, strong=number in marked, size=size)
    end = ":marked" if number in marked else ""
    ax.patches[-1].set_gid(f"{('input', 'output')[which]}:{number[0]}:{number[1]}:{kind}{end}")


def name(position: Position) -> str:
    """(1, 2) as "1,2"."""
    return ",".join(map(str, position))
