"""Recurrences: one step, the scan over many, and hand-written adjoints.

Read `cell` first: what a cell is. `gated_cell`, `gru_cell` and `lstm_cell` are three, equations and adjoint; `gated`,
`gru` and `lstm` what people call, `scan` what those share. `engine` runs any cell over chunks of time, `time_chunks`
cuts time, `affine` runs what is linear, `arguments` reads arguments, `flow` measures how gradients fare.
`convert` takes weights from other libraries and makes them, by `libraries`; `standins` stands for their layers.
"""
