"""From a configuration to a robot's controller: compiled programs, signed bundles, the process that runs them."""
