"""The processes of one run on one machine."""
