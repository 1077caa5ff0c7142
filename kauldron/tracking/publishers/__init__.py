"""Events of a run, told to whoever listens."""
