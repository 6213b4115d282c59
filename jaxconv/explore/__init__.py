"""`jaxconv explore`: a page of convolution arithmetic and its gradients, to be seen and touched; no server, no network.

`command` reads the options and writes the page, `page` puts it together. What runs in it lies in the folder `browser`:
`translate` puts the functions of `jaxconv.sizes` into JavaScript, names of Python that they call stand in runtime.js.
Read geometry.js first: what a state is, and which cell meets which. Then draw.js and picture.js: a picture; words.js,
sizes.js and code.js: what stands beside it; state.js: the address; controls.js and page.js: what people touch.
Imports no jax.
"""
