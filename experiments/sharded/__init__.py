"""What one run takes of each device when workers and coordinates are cut over many of them.

Memory as XLA plans it and what the devices send, for programs that are compiled and not run: so a
laptop plans for hundreds of devices. A small run is really run, on one device and on several.
"""
