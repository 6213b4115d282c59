"""Scripts that serve one framework each, by themselves; see `serve.py`."""
