"""``normrnn demo``: train a network twice on real data, without a penalty and with L2, and compare.

Read `text` or `sunspots` to see how a training loop is written; `speed` times the core against the
NumPy reference, `report` and `pictures` show the outcome. Needs the extra ``demo``.
"""
