"""Collection of swings, data sets, one training loop for every level, probes."""
