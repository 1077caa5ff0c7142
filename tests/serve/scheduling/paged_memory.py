"""A device that knows what each place of each page stands for, and makes sure of it."""

from __future__ import annotations

import hashlib


def next_token(tokens, vocab_size=5):
    """Returns what a model would make of these tokens: a function of all of them."""
    digest = hashlib.blake2s(repr(list(tokens)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % vocab_size


def answer(prompt, max_length, vocab_size=5):
    """Returns prompt and answer, made one token after the other."""
    tokens = list(prompt)
    while len(tokens) < max_length:
        tokens.append(next_token(tokens, vocab_size))
    return tokens


class PagedMemory:
    """Keeps in each place of a page the tokens up to it, as keys and values depend on.

    Reading a place that holds anything else is an error of the schedule.
    """

    def __init__(self, num_pages, page_size):
        self.page_size = page_size
        self.places = [[None] * page_size for _ in range(num_pages)]
        self.computed = 0

    def copy(self, copies):
        taken = [(list(self.places[source]), target) for source, target in copies]
        for content, target in taken:
            self.places[target] = content

    def compute(self, tokens, pages, start, length):
        """Computes some tokens of a row; returns what follows on the last of them."""
        for i in range(start, start + length):
            page, place = pages[i // self.page_size], i % self.page_size
            self.places[page][place] = tuple(tokens[: i + 1])
        self.computed += length
        for i in range(start + length):
            page, place = pages[i // self.page_size], i % self.page_size
            assert self.places[page][place] == tuple(tokens[: i + 1]), "not its own"
        return next_token(tokens[: start + length])

    def run(self, plan, stop=lambda token: False):
        """Does what a plan says; returns what was made of each sequence."""
        self.copy(plan.copies)
        for row in plan.rows:
            s = row.sequence
            self.compute(s.tokens, s.pages, row.start, row.length)
        made = {}
        for s in plan.decoding:
            tokens, made[s] = list(s.tokens), []
            for _ in range(min(plan.num_steps, s.room)):
                token = self.compute(tokens, s.pages, len(tokens) - 1, 1)
                tokens.append(token)
                made[s].append(token)
                if stop(token):
                    break
        return made
