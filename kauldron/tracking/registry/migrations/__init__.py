"""What changes an older database: one file a step, in the order of their revisions."""
