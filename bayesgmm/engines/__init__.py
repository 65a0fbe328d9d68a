"""Ways to a posterior."""
