"""Runs side by side: tables, curves, reports."""
