"""Learned parts: encoders, predictors, the motor codec, losses, checkpoints. torch only; no planning, no bus, no robots."""
