"""Weights of a GRU or an LSTM as other libraries hold them: `reading` takes them, `writing` makes them.

Both know them as (w_ih, w_hh, b_ih, b_hh) with the library's own order of gates, `quad`. `jaxconv.recurrence.convert`,
which has the table of what each library holds, puts the gates in order.
"""
