"""Settings of a workspace: a file, the environment, defaults."""
