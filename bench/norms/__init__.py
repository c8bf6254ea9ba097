"""What holding a network in check costs: norms, dropout and their like against the step without.

`suite` lists the rows, `steps`, `updates` and `monitor` say what is done in each, and `tables` puts
them into the documentation. PyTorch's ways of doing the same are among bench/peers.
"""
