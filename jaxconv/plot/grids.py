"""Two spatial axes as two grids: the padded input at the left, the output at the right."""

from __future__ import annotations

from matplotlib.axes import Axes

from jaxconv.connections import Position, inside
from jaxconv.geometry import Geometry
from jaxconv.plot.style import axes_or_new, bare, colour, square


def grids(
    geometry: Geometry, inputs: dict[Position, Position], outputs: dict[Position, Position], ax: Axes | None
) -> Axes:
    """The padded input at the left, the output at the right; marked cells are filled and hold their numbers."""
    (h, w), ((top, bottom), (left, right)) = geometry.input_size, geometry.padding
    rows, columns = range(min(-top, 0), max(h + bottom, h)), range(min(-left, 0), max(w + right, w))
    m_h, m_w = geometry.output_size
    gap, down = columns[-1] + 2, rows[0] + (len(rows) - m_h) // 2
    ax = axes_or_new(ax, 0.55 * (len(columns) + m_w + 3), 0.55 * max(len(rows), m_h) + 1.6)
    for j in ((r, c) for r in rows for c in columns):
        _cell(ax, (j[1], j[0]), j, inputs, 0, "plain" if inside(geometry, j) else "padding")
    for p in ((r, c) for r in range(m_h) for c in range(m_w)):
        _cell(ax, (gap + p[1], down + p[0]), p, outputs, 1, "plain")
    ax.set(xlim=(columns[0] - 0.7, gap + m_w - 0.3), aspect="equal")
    ax.set_ylim(max(rows[-1], down + m_h - 1) + 0.7, min(rows[0], down) - 0.7)
    ax.set_xticks([*columns, *range(gap, gap + m_w)], [*map(str, columns), *map(str, range(m_w))], fontsize=8)
    ax.set_yticks(list(rows), list(map(str, rows)), fontsize=8)
    ax.set_xlabel("input j and, at the right, output p: column (position)\ndashed: padding")
    ax.set_ylabel("input j: row (position)")
    bare(ax)
    return ax


def _cell(
    ax: Axes, at: tuple[int, int], number: Position, marked: dict[Position, Position], which: int, kind: str
) -> None:
    text = name(marked[number]) if number in marked else ""
    square(ax, *at, text, fill=colour(which) if number in marked else None, kind=kind, strong=number in marked, size=8)
    ax.patches[-1].set_gid(
        f"{('input', 'output')[which]}:{number[0]}:{number[1]}" + (":marked" if number in marked else "")
    )


def name(position: Position) -> str:
    """(1, 2) as "1,2"."""
    return ",".join(map(str, position))
