"""What limits n and d, and what one run takes of each of many devices.

`limits` is arithmetic from measured rates. `sharded` cuts workers and coordinates over devices:
memory as XLA plans it and what the devices send, for programs that are compiled and not run, so
that a laptop plans for hundreds of devices. A small run is really run, on one and on several.
"""
