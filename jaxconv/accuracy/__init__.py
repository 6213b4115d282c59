"""What is close enough: the error model, and float64 NumPy to compare with."""
