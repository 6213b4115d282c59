"""`jaxconv explore`: a page of convolution arithmetic and its gradients, to be seen and touched; no server, no network.

`command` reads the options and writes the page, `page` puts it together: `translate` puts the functions of
`jaxconv.sizes` into JavaScript, `recurrence` has the diagram and the weights of the second tab. What runs in the page
lies in the folder `browser`. Read geometry.js first: what a state is, and which cell meets which. Then draw.js,
pointing.js and picture.js, or stack.js: a picture; words.js, sizes.js and code.js: what stands beside it; flow.js: the
recurrence; state.js: the address; controls.js and page.js: what people touch. Imports no jax.
"""
