"""Random changes of whole cases, the same for all their groups and patches."""
