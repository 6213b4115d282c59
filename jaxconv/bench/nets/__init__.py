"""`jaxconv bench nets`: a training step of whole nets, each written once and run by every contestant.

`graph` is how a net is written, `catalogue` which there are, `run` measures, `show` and `command` are what people see.
Each contestant walks the same list of nodes: those of JAX in `peers/nets_jax.py`, PyTorch in `peers/nets_torch.py`.
"""
