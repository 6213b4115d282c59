"""Sizes, shapes and geometry in plain integers; nothing here needs jax."""
