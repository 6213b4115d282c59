"""`jaxconv verify`: is every hand-written gradient right, on every platform that JAX sees?

`run` goes through the parts: `gradients` (the table in `cases`, against JAX and float64), `exercises` on paper, and a
training on `digits`. `report` and `page` show the outcome.
"""
