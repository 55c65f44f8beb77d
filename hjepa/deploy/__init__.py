"""From a trained agent to a robot's controller: what the machine can do, and what a control process asks of it."""
