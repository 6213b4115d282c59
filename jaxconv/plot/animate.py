"""The window on its way over the input, one picture per output."""

from __future__ import annotations

from itertools import product

from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from jaxconv.connections import check
from jaxconv.geometry import Geometry
from jaxconv.plot.style import ground, ink
from jaxconv.plot.windows import PAD, feeds, reads


def animation(geometry: Geometry, *, transposed: bool = False, interval: int = 700) -> FuncAnimation:
    """An animation of the window: a frame for each output, as `reads` and `feeds` draw it.

        frame p shows the inputs s·p + d·q − lo;   transposed: frame j shows the p with s·p + d·q − lo = j

    Args:
        geometry: with one or two spatial axes; for a transposed convolution that of its adjoint.
        transposed: show the transposed convolution.
        interval: milliseconds between two frames.

    Returns:
        A matplotlib FuncAnimation: ``.to_jshtml()`` gives HTML for a notebook, ``.save("window.gif", writer="pillow")``
        a file.

    Raises:
        TypeError, ValueError: `geometry` cannot be drawn.

    Source: `reads` and `feeds`.

    >>> moving = animation(Geometry.of("conv", (5,), (3,), stride=2))
    >>> "<img" in moving.to_jshtml()
    True
    """
    geometry = check("animation", geometry)
    frames = list(product(*map(range, geometry.input_size if transposed else geometry.output_size)))
    wide = sum(geometry.input_size[-1:]) + (geometry.output_size[-1] if geometry.axes == 2 else 0)
    figure = Figure(figsize=(min(max(0.55 * (wide + 5), 5), 12), 4.2), layout="constrained", dpi=80)
    ax = figure.add_subplot()

    def draw(frame: tuple[int, ...]) -> list:
        ax.clear()
        if transposed:
            feeds(geometry, position=frame, ax=ax)
        else:
            reads(geometry, output=frame, ax=ax)
        at = frame[0] if len(frame) == 1 else frame
        ax.set_title(f"{'j' if transposed else 'p'} = {at}: {ax.get_title()}", color=ink(), pad=PAD[geometry.axes])
        figure.set_facecolor(ground())
        return []

    return FuncAnimation(figure, draw, frames=frames, interval=interval)
