"""`jaxconv bench`: is it fast, beside JAX and other frameworks, in interleaved pairs?

`workloads` says of what, `measure` how, `processes` keeps every peer in a process of its own (`peers`), `run` goes
through them, `show` and `command` are what people see. Figures stand in README.md beside this file.
"""
