"""A radix tree over the tokens of full pages: what was computed once is used again.

A node is a page whose keys and values are complete. Its path from the root spells all
tokens up to the end of the page, as keys and values depend on all tokens before them.

An answer that holds the page of a node holds those of the nodes above, too: an answer
that has computed a page which the tree has already takes that of the tree. So a node that
only the tree holds has no child that others hold, and was let go later than its children:
the first of those that only the tree holds is always a leaf.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Hashable, Iterator, Sequence

from kauldron.serve.scheduling._pages import PagePool


@dataclasses.dataclass(eq=False)
class _Node:
    page: int
    parent: _Node | None
    tokens: tuple[int, ...]
    children: dict[tuple[int, ...], _Node] = dataclasses.field(default_factory=dict)


class PrefixTree:
    """The pages of prefixes, each held by the tree until its room is needed.

    Args:
      pool: Of the pages.
      page_size: Tokens of a page.
    """

    def __init__(self, pool: PagePool, page_size: int) -> None:
        self._pool = pool
        self._page_size = page_size
        self._roots: dict[Hashable, _Node] = {}
        self._nodes: dict[int, _Node] = {}
        # Pages that only the tree holds, in the order in which they were let go.
        self._unused: collections.OrderedDict[int, None] = collections.OrderedDict()

    @property
    def num_pages(self) -> int:
        """Pages in the tree."""
        return len(self._nodes)

    @property
    def num_unused(self) -> int:
        """Pages that only the tree holds: they are free when they are needed."""
        return len(self._unused)

    def pages(self) -> Iterator[int]:
        """Yields the pages in the tree."""
        return iter(self._nodes)

    def match(
        self, tokens: Sequence[int], group: Hashable, max_pages: int
    ) -> list[int]:
        """Returns the pages of the longest prefix that is there; the caller holds them.

        Args:
          tokens: Of the prompt.
          group: Prefixes of other groups don't count, such as those of another adapter.
          max_pages: The most pages to return.
        """
        node, pages = self._roots.get(group), []
        while node is not None and len(pages) < max_pages:
            node = node.children.get(self._tokens_of(tokens, len(pages)))
            if node is not None:
                self.hold(node.page)
                pages.append(node.page)
        return pages

    def insert(
        self, tokens: Sequence[int], group: Hashable, pages: list[int], start: int
    ) -> int:
        """Adds full pages of an answer; returns how many of its pages are in the tree.

        Where the tree has a page of the same tokens already, it takes the place of the
        answer's own in `pages`.

        Args:
          tokens: Of the answer; each full page of them was computed.
          group: See `match`.
          pages: Of the answer.
          start: How many of its first pages are in the tree.
        """
        node = self._nodes[pages[start - 1]] if start else self._root(group)
        for i in range(start, len(tokens) // self._page_size):
            key = self._tokens_of(tokens, i)
            child = node.children.get(key)
            if child is None:
                child = _Node(pages[i], node, key)
                node.children[key] = self._nodes[pages[i]] = child
                self._pool.hold(pages[i])
            elif child.page != pages[i]:
                self.hold(child.page)
                self._pool.release(pages[i])
                pages[i] = child.page
            node = child
        return max(start, len(tokens) // self._page_size)

    def hold(self, page: int) -> None:
        """Adds a holder to a page, of the tree or not."""
        self._unused.pop(page, None)
        self._pool.hold(page)

    def release(self, pages: Sequence[int]) -> None:
        """Takes a holder from each page of an answer, of the tree or not."""
        for page in reversed(pages):
            if self._pool.release(page) == 1 and page in self._nodes:
                self._unused[page] = None

    def make_room(self) -> bool:
        """Frees the page that was let go first; returns whether there was one."""
        if not self._unused:
            return False
        page, _ = self._unused.popitem(last=False)
        node = self._nodes.pop(page)
        assert not node.children, "a page is forgotten before those behind it"
        assert node.parent is not None
        del node.parent.children[node.tokens]
        self._pool.release(page)
        return True

    def clear(self) -> None:
        """Forgets all prefixes. Answers keep their pages."""
        for page in self._nodes:
            self._pool.release(page)
        self._nodes.clear()
        self._unused.clear()
        self._roots.clear()

    def _root(self, group: Hashable) -> _Node:
        return self._roots.setdefault(group, _Node(-1, None, ()))

    def _tokens_of(self, tokens: Sequence[int], page: int) -> tuple[int, ...]:
        return tuple(tokens[page * self._page_size : (page + 1) * self._page_size])
