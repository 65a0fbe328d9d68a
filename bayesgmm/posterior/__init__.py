"""The posterior as a function of one vector."""
