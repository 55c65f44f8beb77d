"""Pictures of what the levels learned and decided: one file for each family, drawing only."""
