"""Process graphs: which processes a robot needs, in YAML, and the supervisor that starts, watches and ends them."""
