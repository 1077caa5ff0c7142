"""From a config to its objects and back: what is wrong with it, its objects, the exact
record of what will be used, and the export of live objects.
"""
