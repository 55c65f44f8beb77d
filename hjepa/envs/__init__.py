"""Gymnasium environments, registered when `gymnasium.make("hjepa.envs:hjepa/Badminton-v0")` imports this module."""

import gymnasium

gymnasium.register(id="hjepa/Badminton-v0", entry_point="hjepa.envs.badminton:BadmintonEnv")
