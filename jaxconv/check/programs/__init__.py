"""JAX programs, taken apart and run with something changed.

Read `interpret` (equation by equation, rules replaced by bodies, loops bounded), `noise` (what rounding may do),
`long` (programs that would take longer to compile than to run) and `room` (what is compiled, and when it is let go).
"""
