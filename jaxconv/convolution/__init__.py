"""The idea: a convolution is one trilinear form, and its three maps are the derivatives of each other.

Read `maps` first: three maps, three registrations. `api` is what people call, `config` what is static about a call.
`primitive` registers the same rules with forward mode, `batching` says what `vmap` makes of them, `padding` what
stands in the padding, `jacobian` makes dense Jacobians, `algorithm` says which algorithm serves a call.
"""
