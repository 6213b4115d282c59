"""Many devices: halos, convolution on split axes, processes, what a program sends."""
