"""The main job: every hand-written gradient against `jax.grad` and float64, on every platform that JAX sees here."""
