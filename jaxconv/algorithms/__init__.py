"""How the three maps are computed: several algorithms with one interface, and the choice between them.

Read `reference` first: each map as one call of lax, with its paddings derived. `unroll` and `gemm` are the same as
matrix products; the others are described in README.md beside this file. `problem` states the facts of a call, `cost`
estimates its time, `measured` holds what was measured on this machine, and `choose` says which algorithm serves it, and
runs that, or lax's own on other platforms.
"""
