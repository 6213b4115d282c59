"""The idea: three bilinear maps, each the derivative of the other two."""
