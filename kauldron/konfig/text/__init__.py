"""Configs and values as text that people write and read: literals of the command line,
Python files, differences.
"""
