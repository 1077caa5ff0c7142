"""Names of importable objects, without importing them: how they are written, found, and
imported, what what they name accepts, and which of them a config from elsewhere may use.
Knows nothing of configs.
"""
