"""What the library leans on in JAX itself, one file per promise."""
