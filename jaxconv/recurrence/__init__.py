"""The gated recurrence: one step, the scan over many, and its hand-written adjoint.

Read `gated_cell` first: weights and equations. `gated` is what people call. `engine` runs chunks of time forward and
back, `states` makes the states of one chunk, `time_chunks` cuts time. `directions` runs a cell from each end, `flow`
measures how gradients fare.
"""
