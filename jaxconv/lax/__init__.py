"""A drop-in with lax's own signature, and `accelerate` for programs that call lax themselves.

Read `read` first: any `lax.conv_general_dilated` is one of the three maps, and six lines say which. `moves` puts the
arrays in order for it, `route` joins the two into what is compiled, and keeps the record of it. `accelerated` is the
switch, `drop_in` the function.
"""
