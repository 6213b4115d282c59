"""The gated recurrence: its step, its scan, and their adjoint."""
