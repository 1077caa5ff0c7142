"""From a config to its objects, and back.

Owns what is wrong with a config, the objects that it stands for, the exact record of what
will be used, and the export of live objects.
"""
