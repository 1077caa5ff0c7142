"""Datasets of cases, and their patches."""
