"""What `hjepa bench` measures on this machine; imported by the command line alone."""
