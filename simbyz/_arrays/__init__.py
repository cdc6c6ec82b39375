"""Private ground: arrays with a worker axis, and what is computed over it."""
