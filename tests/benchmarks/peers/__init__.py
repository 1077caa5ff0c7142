"""Training loops of other tools, each in an environment of its own."""
