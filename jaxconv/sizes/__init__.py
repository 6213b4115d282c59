"""Sizes, shapes and geometry of convolutions, in plain integers; nothing here needs jax.

Read `arithmetic` first: how many outputs an input gives, and which inputs give an output. `shapes` asks the same of
whole arrays, `geometry` holds every option of a convolution once, validated. `connections` and `reads` say which
output reads which input, `receptive` what a stack of layers reads, `cost` what a call takes. `layer_words` and
`layers_in_words` are `jaxconv size`, `onnx_file` and `onnx_model` the same of an ONNX model; `arguments` has the errors
that all of them raise.
"""
