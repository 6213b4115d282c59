"""`jaxconv bench`: is it fast, beside JAX and other frameworks, in interleaved pairs?

`workloads` says of what, `measure` how, `processes` keeps every peer in a process of its own (`peers`), `run` goes
through them, `show` and `command` are what people see. Figures stand in README.md beside this file.

`jaxconv tune` measures every algorithm of our own instead, for `jaxconv.algorithms.measured.wisdom`: `tune_layers` says
of what, `tune` how, `tune_child` is the process that may die, `tune_command` what people see. Such measurements lie in
`evidence`, and `fit` makes of them the prices by which `jaxconv.algorithms.cost` estimates a time. `nets` has whole
nets.
"""
