"""The server of apps: routes, uploads, events, the page."""
