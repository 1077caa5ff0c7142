"""`ChatTemplate`: one text of a conversation, and who wrote which part of it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from kauldron.lm.text import _chat_text, _errors, _packages
from kauldron.lm.text import _template_environment as environment

if TYPE_CHECKING:
    from kauldron.lm.text._tokenizer import Tokenizer

_REPR_LENGTH = 72

Message = Mapping[str, Any]


class ChatTokens(NamedTuple):
    """The tokens of a conversation.

    Attributes:
      tokens: `i32[n]`.
      is_trained: `bool[n]`, whether a token was written by one of the roles asked for.
    """

    tokens: np.ndarray
    is_trained: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class ChatTemplate:
    """Writes conversations as the text that a model was trained on. Picklable.

    Needs the extra `kauldron[lm]`. Templates run in jinja2's immutable sandbox; besides
    jinja2's own they have `raise_exception`, `strftime_now`, `tojson` (`json.dumps` without
    escapes), `break`, `continue`, and `{% generation %}...{% endgeneration %}` around what
    the assistant writes.

    A message is a dict with `role` and `content`, and what else the template reads, such
    as `tool_calls`. Keys that are `None` count as missing.

    Attributes:
      text: Of the template, jinja2.
      variables: What the template reads, such as `bos_token` or `enable_thinking`.
      date: What `strftime_now` tells, `'2026-11-30'`; the time of the call unless given.
        Data of a training should give it, or they change from day to day.

    Raises:
      ChatTemplateError: If it is no template, or calls a helper that does not exist.

    Example:

    ```python
    template = kd.lm.ChatTemplate(
        text="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    assert template.render([{"role": "user", "content": "Hi"}]) == "<user>Hi"
    ```
    """

    text: str
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    date: str | None = None

    def __post_init__(self) -> None:
        try:
            _ = self.date and datetime.datetime.fromisoformat(self.date)
        except ValueError:
            raise _errors.ChatTemplateError(
                f"`date` is written as '2026-11-30': got {self.date!r}."
            ) from None
        _ = self._compiled

    @classmethod
    def of(cls, tokenizer: Tokenizer, **options: Any) -> Self:
        """Returns the template of a tokenizer, with its special tokens as variables.

        Args:
          tokenizer: Has a `chat_template`.
          **options: Other fields; `variables` are added to the special tokens.

        Raises:
          ChatTemplateError: If the tokenizer has no template.
        """
        if tokenizer.chat_template is None:
            raise _errors.ChatTemplateError(
                "The tokenizer has no chat template: its model was not made for "
                "conversations. Give one: `ChatTemplate(text=...)`."
            )
        roles = tokenizer.special.by_role()
        variables = {f"{role}_token": token for role, token in roles.items()}
        variables |= options.pop("variables", {})
        return cls(text=tokenizer.chat_template, variables=variables, **options)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """Returns the text of a conversation.

        Args:
          messages: The conversation.
          tools: JSON schemas of functions that the model may call.
          add_generation_prompt: Whether the text ends with the beginning of an answer.

        Raises:
          ChatTemplateError: If the template refuses it, or a message is no message.
        """
        return self._render(messages, tools, add_generation_prompt, _chat_text.NO_MARKS)

    def spans(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
        roles: Iterable[str] = ("assistant",),
    ) -> list[_chat_text.Span]:
        """Returns which parts of `render(messages)` some roles wrote.

        The template's `{% generation %}` tags say it. Without them, and for other roles,
        it is what a message adds to the text of those before it; of the assistant's,
        behind the generation prompt. The mark that ends a turn belongs to it.

        Raises:
          ChatTemplateError: If it cannot be told, as a template without tags writes
            earlier messages otherwise when others follow.
        """
        return self._marked(messages, tools, tuple(roles), _chat_text.NO_GUARD).spans

    def encode(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = False,
    ) -> np.ndarray:
        """Returns the tokens of a conversation, `i32[n]`.

        Special tokens of the template become themselves. Those that stand in messages or
        tools are encoded letter by letter: nobody ends a turn by writing its mark.
        """
        guard = _chat_text.guard_for(tokenizer, messages, tools)
        text = self._render(
            guard.wrap(messages),
            guard.wrap(tools),
            add_generation_prompt,
            _chat_text.NO_MARKS,
        )
        return _chat_text.tokens_of(tokenizer, text, [], guard).tokens

    def encode_with_roles(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
        roles: Iterable[str] = ("assistant",),
        first_message: int = 0,
    ) -> ChatTokens:
        """Returns the tokens of a conversation, and which of them some roles wrote.

        Args:
          messages: The conversation.
          tools: JSON schemas of functions that the model may call.
          roles: Who is to be imitated.
          first_message: Messages before this one are context, whoever wrote them.

        Raises:
          ChatTemplateError: As `spans`.
        """
        guard = _chat_text.guard_for(tokenizer, messages, tools)
        marked = self._marked(messages, tools, tuple(roles), guard, first_message)
        found = _chat_text.tokens_of(tokenizer, marked.text, marked.spans, guard)
        return ChatTokens(found.tokens, found.is_inside)

    def _marked(
        self,
        messages: Sequence[Message],
        tools: Sequence[Any] | None,
        roles: tuple[str, ...],
        guard: _chat_text.Guard,
        first_message: int = 0,
    ) -> _chat_text.Marked:
        conversation = _chat_text.plain(guard.wrap(messages), "messages")
        schemas = guard.wrap(tools)
        if roles == ("assistant",) and environment.has_generation_tag(self.text):
            text = self._render(conversation, schemas, False, guard.marks)
            marked = _chat_text.read_marks(text, guard.marks)
            of_context = [m["role"] for m in conversation[:first_message]]
            return marked._replace(spans=marked.spans[of_context.count("assistant") :])

        def render(count: int, prompt: bool) -> str:
            part = conversation[:count]
            return self._render(part, schemas, prompt, _chat_text.NO_MARKS)

        end = str(self.variables.get("eos_token", ""))
        return _chat_text.by_prefixes(conversation, roles, render, end, first_message)

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Any] | None,
        add_generation_prompt: bool,
        marks: _chat_text.Marks,
    ) -> str:
        jinja2 = _packages.load("jinja2", "`kd.lm.ChatTemplate`")
        values = {
            **self.variables,
            "messages": _chat_text.plain(messages, "messages"),
            "tools": None if tools is None else _chat_text.plain_value(tools, "tools"),
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            environment.BEGIN_MARK: marks.begin,
            environment.END_MARK: marks.end,
        }
        try:
            return self._compiled.render(values)
        except environment.RefusedError as error:
            raise _errors.ChatTemplateError(
                f"The chat template refuses the conversation: {error}"
            ) from None
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise _errors.ChatTemplateError(
                f"The chat template fails for this conversation: {error}. A message has "
                f"the keys {sorted(messages[0]) if messages else 'of none'}."
            ) from error

    @functools.cached_property
    def _compiled(self) -> Any:
        return environment.compile_template(self.text, self._now)

    def _now(self) -> datetime.datetime:
        if self.date is None:
            return datetime.datetime.now()
        return datetime.datetime.fromisoformat(self.date)

    def __repr__(self) -> str:
        text = textwrap.shorten(self.text, _REPR_LENGTH, placeholder=" ...")
        return (
            f"ChatTemplate(text={text!r}, variables={dict(self.variables)!r}, "
            f"date={self.date!r})"
        )

    def __getstate__(self) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(self)]
        return {name: self.__dict__[name] for name in names}
