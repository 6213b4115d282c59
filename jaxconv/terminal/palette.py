"""The colours of pictures and pages. One colour for each array of a convolution: x, w and y, their gradients too.

Source of the palette: M. Okabe and K. Ito, "Color universal design", 2008; yellow and black are left out, since one
vanishes on white and the other on black.
"""

from __future__ import annotations

VERMILION, BLUE, GREEN = "#D55E00", "#0072B2", "#009E73"
ORANGE, PURPLE, SKY = "#E69F00", "#CC79A7", "#56B4E9"
PALETTE = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY)
ON_COLOUR = {VERMILION: "white", BLUE: "white", GREEN: "white", PURPLE: "black", ORANGE: "black", SKY: "black"}

ARRAYS = {"x": BLUE, "w": VERMILION, "y": GREEN}
ARRAYS_ON_DARK = {"x": SKY, "w": "#F0894A", "y": "#35C795"}  # the same three, light enough to be read there
