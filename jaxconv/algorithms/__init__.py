"""How the three maps are computed: facts, forms and the choice between them."""
