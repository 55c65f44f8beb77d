"""Learned parts: encoders, predictors, the motor codec, losses, checkpoints. torch only; no planning or robots."""
