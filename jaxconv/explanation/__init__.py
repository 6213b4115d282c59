"""One call explained: formula, numbers put in, code, check and picture side by side; and a model's layers.

`explained` puts it together, `worked` works one entry of y, dx and dw out in numbers. `layers` is the table of a
function's convolutions, `found` goes through its program, `fields` carries receptive fields along.
"""
