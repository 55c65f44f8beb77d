"""From a configuration to a controller: compiled programs, signed bundles, and the process that runs them."""
