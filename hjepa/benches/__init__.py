"""What `hjepa bench` measures beyond tasks: assembly, imported by the command line alone."""
