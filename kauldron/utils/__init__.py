"""Modules that published code imports by these paths. Nothing new is put here."""
