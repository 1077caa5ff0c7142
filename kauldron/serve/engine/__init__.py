"""The engine: a model, its programs and its schedule behind requests."""
