"""What a config is written with: stand-ins for modules (`imports()`, `mock_modules()`),
placeholders and references.
"""
