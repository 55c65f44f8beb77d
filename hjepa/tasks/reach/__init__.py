"""Reach: follow a moving target with the tool. Where targets go, what counts, and rivals of the learned agent."""
