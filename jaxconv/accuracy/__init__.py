"""What is close enough, and what is right.

`error_model` has the one constant of the project, and says what a sum of L products may be off by. `oracle` computes
the same sums in float64 with NumPy. `nonfinite` keeps NaN and infinity in the sums that have them. `heat` shrinks the
distances of an array to a picture.
"""
