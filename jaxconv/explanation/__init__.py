"""One call explained: formula, numbers put in, code, check and picture side by side.

`explained` puts it together, `worked` works one entry of y, dx and dw out in numbers.
"""
