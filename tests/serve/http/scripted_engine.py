"""An engine that says what a test tells it to, token by token."""

from __future__ import annotations

import asyncio
import dataclasses
import functools

import numpy as np

from kauldron import kd
from kauldron.serve import requests


def _template_text(tools="", calls=""):
    """ChatML, with what the models of a family are told of tools, shortened."""
    return (
        f"{tools}{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}"
        f"{calls}<|im_end|>\n{{% endfor %}}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


PLAIN = _template_text()
LLAMA3 = _template_text("{% if tools %}{{ tools | tojson }}{% endif %}")
MISTRAL = _template_text("{% if tools %}{{ tools | tojson }}[TOOL_CALLS]{% endif %}")
HERMES = _template_text(
    "{% if tools %}{{ tools | tojson }}{% endif %}",
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>"
    "{% endfor %}",
)


@functools.cache
def tokenizer():
    """Returns a tokenizer of few tokens: texts are many tokens."""
    special = kd.lm.SpecialTokens(
        bos="<|im_start|>", eos="<|im_end|>", pad="<|im_end|>", unk=None
    )
    texts = ["Hello there, how are you? I am fine. The weather in Paris is nice."] * 3
    return kd.lm.Tokenizer.train(texts, vocab_size=330, special=special)


@dataclasses.dataclass
class ScriptedEngine:
    """Answers every request with the same text.

    Attributes:
      text: Of the answers; the i-th of `n` answers is that with `{i}` filled in.
      template: Of the chats; `None` is a model without one.
      refusal: Raised before the first piece.
      fails_after: Pieces after which the engine fails.
      secs_per_token: How long a token takes.
      num_cached: Tokens of each prompt that are said to be cached.
      asked: The requests so far.
      num_running: Those that are neither done nor cancelled.
      num_cancelled: Those that were.
    """

    text: str = "Hello there, how are you?"
    template: str | None = HERMES
    refusal: Exception | None = None
    fails_after: int | None = None
    secs_per_token: float = 0.0
    num_cached: int = 0
    context_length: int = 4096
    model_name: str = "scripted"
    adapters: tuple[str, ...] = ("pirate",)
    failure: BaseException | None = None
    asked: list = dataclasses.field(default_factory=list)
    num_running: int = 0
    num_cancelled: int = 0

    @property
    def tokenizer(self):
        return tokenizer()

    @property
    def chat_template(self):
        return None if self.template is None else _template(self.template)

    @property
    def last(self):
        """The last request."""
        return self.asked[-1]

    @property
    def last_prompt(self):
        """Text of the last request's prompt."""
        return self.tokenizer.decode(self.last.prompt, skip_special=False)

    async def astream(self, request):
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        self.num_running += 1
        is_done = False
        try:
            answers = [self._pieces(request, i) for i in range(request.sampling.n)]
            longest = max(map(len, answers))
            for step in range(longest):
                await asyncio.sleep(self.secs_per_token)
                if self.fails_after is not None and step >= self.fails_after:
                    answers = [[self._failed(request, i)] for i in range(len(answers))]
                    for (piece,) in answers:
                        yield piece
                    break
                for pieces in answers:
                    if step < len(pieces):
                        yield pieces[step]
            is_done = True
        finally:
            self.num_running -= 1
            self.num_cancelled += not is_done

    def _pieces(self, request, index):
        """The pieces of an answer: a token each, the end and what is said of it last."""
        sampling = request.sampling
        text = self.text.replace("{i}", str(index))
        reason, stop = "stop", self.tokenizer.eos_id
        for wanted in sampling.stop:
            if wanted in text:
                text, stop = text.partition(wanted)[0], wanted
        tokens = self.tokenizer.encode(text).tolist()
        if sampling.max_tokens is not None and len(tokens) >= sampling.max_tokens:
            tokens, reason, stop = tokens[: sampling.max_tokens], "length", None
        decoder = self.tokenizer.stream_decoder()
        pieces = []
        for i, token in enumerate(tokens):
            pieces.append(
                requests.Piece(
                    index=index,
                    text=decoder.push(token),
                    tokens=(token,),
                    logprobs=self._logprobs(token, sampling.logprobs),
                    usage=self._usage(request, i + 1),
                )
            )
        last = requests.Piece(
            index=index,
            text=decoder.finish(),
            tokens=(),
            finish_reason=reason,
            stop=stop,
            usage=self._usage(request, len(tokens) + (reason == "stop")),
        )
        first, *others = [*pieces, last]
        if request.prompt_logprobs and not index:
            told = [self._logprobs(t, sampling.logprobs)[0] for t in request.prompt[1:]]
            first = dataclasses.replace(first, prompt_logprobs=tuple(told))
        return [first, *others]

    def _failed(self, request, index):
        usage = self._usage(request, 0)
        return requests.Piece(
            index=index, text="", tokens=(), finish_reason="error", usage=usage
        )

    def _usage(self, request, num_tokens):
        return requests.Usage(
            prompt_tokens=len(request.prompt),
            cached_tokens=self.num_cached,
            completion_tokens=num_tokens,
        )

    def _logprobs(self, token, num_top):
        """-0.5 for the token, and -1, -2, ... for others."""
        if num_top is None:
            return ()
        top = tuple((token + i, -0.5 * (i + 1)) for i in range(num_top))
        return (
            requests.TokenLogprob(
                token=token, logprob=-0.5, drawn_logprob=-0.5, top=top
            ),
        )

    async def aembed(self, prompts, *, timeout=None):
        """(number of tokens, first token, 1, 0), of norm 1."""
        self.asked.append(prompts)
        if self.refusal is not None:
            raise self.refusal
        self.num_running += 1
        self.num_cancelled += 1
        try:
            await asyncio.sleep(self.secs_per_token)
            self.num_cancelled -= 1
        finally:
            self.num_running -= 1
        rows = [np.array([len(p), p[0], 1, 0], np.float32) for p in prompts]
        return [row / np.linalg.norm(row) for row in rows]

    def stats(self):
        return {"num_running": float(self.num_running), "num_free_pages": 7.0}


@functools.cache
def _template(text):
    return kd.lm.ChatTemplate(text=text)
