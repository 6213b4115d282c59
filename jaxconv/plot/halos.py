"""Which positions each shard of a split axis holds, and which halo it reads of the others."""

from __future__ import annotations

from matplotlib.axes import Axes

from jaxconv.plot.style import axes_or_new, bare, cell_inches, colour, square
from jaxconv.sizes.arguments import integer, wrong_value


def halos(size: int, shards: int, *, before: int, after: int, ax: Axes | None = None) -> Axes:
    """One row per shard: its own positions with a thick edge, its halos in the colour of the shard that sends them.

        shard r holds r·L … r·L + L − 1,  L = size/shards,  and sees r·L − before … r·L + L − 1 + after

    Args:
        size: positions of the whole axis.
        shards: how many shards it lies over.
        before, after: widths of the halo.
        ax: where to draw; None: a new figure.

    Returns:
        The Axes. Outside of the axis a shard sees zeros, drawn with a dashed edge.

    Raises:
        ValueError: the shards do not divide the size.

    Source: `jaxconv.halo_exchange`.

    >>> halos(8, 4, before=1, after=1).get_ylabel()
    'shard r'
    """
    size, shards = integer("halos", "size", size, least=1), integer("halos", "shards", shards, least=1)
    before, after = integer("halos", "before", before, least=0), integer("halos", "after", after, least=0)
    if size % shards:
        wrong_value("halos", "`shards` must divide `size`", f"size={size}, shards={shards}")
    own = size // shards
    inches = cell_inches("halos", "size", size + before + after, 0.42)
    ax = axes_or_new(ax, inches * (size + before + after) + 1, inches * shards + 1.2)
    text = 8 if inches > 0.3 else 6
    for r in range(shards):
        for j in range(r * own - before, (r + 1) * own + after):
            inside = 0 <= j < size
            fill = colour(j // own) if inside else None
            kind = "plain" if inside else "padding"
            square(ax, j, r, str(j) if inside else "0", fill=fill, kind=kind, strong=j // own == r, size=text)
    ax.set_xlim(-before - 0.7, size + after - 0.3)
    ax.set_ylim(shards - 0.4, -0.6)
    ax.set_aspect("equal")
    ax.set_xticks(range(0, size, own))
    ax.set_yticks(range(shards))
    ax.set_xlabel("position j of the whole axis; a cell's colour and number say who holds it")
    ax.set_ylabel("shard r")
    bare(ax)
    return ax
