"""Errors of tokenizers and chat templates that the user can fix."""

from __future__ import annotations

from kauldron._base import errors


class TokenizerError(errors.UserError, ValueError):
    """A tokenizer cannot be read, or lacks what it was asked for."""


class ChatTemplateError(errors.UserError, ValueError):
    """A chat template cannot be read, or refuses a conversation."""
