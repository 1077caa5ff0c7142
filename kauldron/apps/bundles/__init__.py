"""What an app is on disk: its directory, what it declares, its checksums."""
