"""One call explained: formula, numbers, code, check and picture."""
