"""What a config is written with: stand-ins for modules (`imports()`, `mock_modules()`),
placeholders and references.
"""

from kauldron._base import lazy

lazy.tell_homes(__name__)
