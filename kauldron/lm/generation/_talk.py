"""`talk`: a conversation in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from kauldron.lm.generation import _generate, _sampling
from kauldron.lm.generation._text_generator import TextGenerator

_HELP = "Ctrl-D or /quit ends, /reset begins anew."


def talk(
    generator: TextGenerator,
    *,
    system: str | None = None,
    max_tokens: int = 256,
    sampling: _sampling.Sampling = _sampling.Sampling(),
    seed: int = 0,
    ask: Callable[[str], str] | None = None,
    out: TextIO | None = None,
) -> list[dict[str, Any]]:
    """Asks a person for messages and answers them, until there are no more.

    When the conversation has no room for another answer, its oldest turns are forgotten,
    and that is told.

    Args:
      generator: The model; its tokenizer has a chat template.
      system: What the model is told first.
      max_tokens: The most tokens of an answer.
      sampling: How tokens are chosen.
      seed: Of the first answer; each one has its own.
      ask: Returns what is typed after a prompt; raises EOFError at the end. By default
        `input`.
      out: Where answers are written; by default stdout.

    Returns:
      The conversation.

    Raises:
      ChatTemplateError: If the model was not made for conversations.
    """
    to: TextIO = out or sys.stdout
    ask = ask or input
    start = [] if system is None else [{"role": "system", "content": system}]
    messages: list[dict[str, Any]] = []
    generator.tokens([*start, {"role": "user", "content": ""}])  # is there a template?
    print(_HELP, file=to)
    while True:
        try:
            typed = ask("> ").strip()
        except EOFError:
            break
        if typed in ("/quit", "/exit"):
            break
        if typed == "/reset":
            messages = []
            continue
        if not typed:
            continue
        messages.append({"role": "user", "content": typed})
        messages = _with_room(generator, start, messages, max_tokens, to)
        answer = ""
        for piece in generator.stream(
            [*start, *messages], max_tokens=max_tokens, sampling=sampling, seed=seed
        ):
            print(piece, end="", flush=True, file=to)
            answer += piece
        print(file=to)
        messages.append({"role": "assistant", "content": answer})
        seed += 1
    return [*start, *messages]


def _with_room(
    generator: TextGenerator,
    start: list[dict[str, Any]],
    messages: list[dict[str, Any]],
    max_tokens: int,
    out: TextIO,
) -> list[dict[str, Any]]:
    """Returns the last messages after which an answer has room in the context."""
    room = generator.context_length
    while room is not None:
        used = len(generator.tokens([*start, *messages]))
        if used + max_tokens <= room:
            break
        if len(messages) < 3:
            raise _generate.PromptError(
                f"The message has {used} tokens with what stands before it, and "
                f"{max_tokens} more may be written: the model has room for {room}."
            )
        messages = messages[2:]
        print("(The oldest turn is forgotten: the context is full.)", file=out)
    return messages
