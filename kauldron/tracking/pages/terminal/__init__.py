"""`kauldron ui`: runs in the terminal, with Textual."""
