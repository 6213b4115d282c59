"""What the library leans on in JAX itself, one file per promise that JAX makes, or does not make.

`dtypes`: which dtypes and precisions, and what each accumulates in. `symbolic_zeros`: which derivatives are asked for.
`manual_axes` and `explicit_sharding`: what an array's type says of its devices, in `jax.shard_map` and in explicit
mode. `loops`: loops over a batch. `row_major`: the order of an array in memory. `unstable`: the private names.
`marks` is a word beside a convolution, `conv_rule` the rule by which JAX compiles one for a CPU, `programs` a traced
program's equations.
"""
