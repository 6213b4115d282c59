"""The window on its way over the input, one picture per output."""

from __future__ import annotations

from itertools import product

from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from jaxconv.plot.style import ground, ink
from jaxconv.plot.windows import PAD, gathered, reads
from jaxconv.sizes.arguments import wrong_value
from jaxconv.sizes.connections import check
from jaxconv.sizes.geometry import Geometry

FRAMES = 200  # more take minutes to draw, and nobody waits for the last one


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

    Source: `reads` and `feeds`, of which the transposed convolution bears other names.

    >>> moving = animation(Geometry.of("conv", (5,), (3,), stride=2))
    >>> "<img" in moving.to_jshtml()
    True
    """
    geometry = check("animation", geometry)
    frames = list(product(*map(range, geometry.input_size if transposed else geometry.output_size)))
    if len(frames) > FRAMES:
        rule = f"`geometry` must have at most {FRAMES} outputs, a frame each (a smaller input shows the same)"
        wrong_value("animation", rule, f"{len(frames)}")
    wide, high = (geometry.input_size[axis] + sum(geometry.padding[axis]) for axis in (-1, 0))
    wide, high = (wide + geometry.output_size[1] + 3, high) if geometry.axes == 2 else (wide, 4)
    figure = Figure(figsize=(min(max(0.5 * (wide + 3), 6), 12), min(0.5 * high + 2.2, 9)), layout="constrained", dpi=80)
    ax = figure.add_subplot()

    def draw(frame: tuple[int, ...]) -> list:
        ax.clear()
        if transposed:
            gathered("animation", geometry, frame, ax, transposed=True)
        else:
            reads(geometry, output=frame, ax=ax)
        at = ",".join(map(str, frame))
        ax.set_title(f"{'j' if transposed else 'p'} = {at}: {ax.get_title()}", color=ink(), pad=PAD[geometry.axes])
        figure.set_facecolor(ground())
        return []

    return FuncAnimation(figure, draw, frames=frames, interval=interval)
