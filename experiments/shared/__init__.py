"""What the experiments share: command lines, stopping, devices, progress."""
