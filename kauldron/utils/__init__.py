"""Published import paths of utilities; nothing new is added here."""
