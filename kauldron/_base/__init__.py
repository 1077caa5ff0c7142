"""What every room stands on: errors, lazy attributes, public names, files, console lines.

Imports no array library, and nothing of the other rooms.
"""
