"""What notebooks and terminals show of a run: tables, trees, pictures, each one call."""
