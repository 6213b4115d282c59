"""Many devices: convolution of an image whose spatial axes are split, and batches of several processes.

Read `halo` first: what a shard needs of its neighbours, and the adjoint of sending it. `sharded` convolves with that.
`processes` makes one batch of the shares of many, `collectives` lists what a compiled program sends.
"""
