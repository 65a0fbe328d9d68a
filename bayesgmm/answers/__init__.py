"""Questions to one fit."""
