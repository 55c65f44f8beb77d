"""Objectives and planners. torch only; models are reached through the protocols below."""
