"""Limits of n and d, and the share of one run that each of many devices takes.

`limits` is arithmetic from measured rates. `sharded` cuts workers and coordinates over devices:
memory as XLA plans it and what the devices send, for programs that are compiled and not run, so
that a laptop plans for hundreds of devices. A small run is really run, on one and on several.
"""
