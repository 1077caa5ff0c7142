"""`kauldron ui --web`: runs as a web page, read-only, on this machine alone."""
