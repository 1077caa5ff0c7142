"""The pages that each sequence holds: given, shared, copied before they are written."""

from __future__ import annotations

from kauldron.serve.scheduling._pages import PagePool
from kauldron.serve.scheduling._prefixes import PrefixTree
from kauldron.serve.scheduling._sequences import Phase, Sequence
from kauldron.serve.scheduling._sizes import Sizes


class Holdings:
    """Gives pages to sequences and takes them back.

    Attributes:
      sizes: Of pool and pages.
      pool: The pages.
      tree: The prefixes that are kept.
      num_forgotten: Pages of prefixes whose room was needed.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.pool = PagePool(sizes.num_pages)
        self.tree = PrefixTree(self.pool, sizes.page_size)
        self.num_forgotten = 0

    @property
    def num_available(self) -> int:
        """Pages that are free, or would be if prefixes were forgotten."""
        return self.pool.num_free + self.tree.num_unused

    def begin(self, sequence: Sequence, num_spare: int) -> bool:
        """Gives a sequence pages to read its tokens, and those that are read already.

        Args:
          sequence: Holds no pages.
          num_spare: How many pages have to be left.

        Returns:
          Whether there were enough. If not, the sequence has none.
        """
        num_to_read = len(sequence.tokens) - 1
        leader = sequence.leader
        if leader is not None and _has_read_all(leader, sequence):
            pages, num_computed = self._shared_with(leader), num_to_read
            num_in_tree = min(leader.num_in_tree, num_to_read // self.sizes.page_size)
            is_shareable = leader.is_shareable
        else:
            pages, is_shareable = self._matched(sequence), True
            num_computed = len(pages) * self.sizes.page_size
            num_in_tree = len(pages)
        lacking = self.sizes.pages_for(num_to_read) - len(pages)
        if lacking + num_spare > self.num_available:
            self.tree.release(pages)
            return False
        pages += self.take(lacking)
        sequence.pages, sequence.num_computed = pages, num_computed
        sequence.num_in_tree, sequence.is_shareable = num_in_tree, is_shareable
        return True

    def end(self, sequence: Sequence) -> None:
        """Takes back what a sequence holds."""
        self.tree.release(sequence.pages)
        sequence.pages = []
        sequence.num_computed = sequence.num_in_tree = 0

    def write(
        self, sequence: Sequence, start: int, end: int
    ) -> tuple[tuple[int, int], ...] | None:
        """Makes the places of some tokens a sequence's own.

        Returns:
          Which pages have to be copied, from and to; `None` if there are not enough, and
          nothing was done.
        """
        pages, copies = sequence.pages, []
        places = range(start // self.sizes.page_size, self.sizes.pages_for(end))
        shared = [
            i for i in places if i < len(pages) and self.pool.holders(pages[i]) > 1
        ]
        num_more = max(len(places) and places[-1] + 1 - len(pages), 0)
        if len(shared) + num_more > self.num_available:
            return None
        for i in shared:
            page = self._new_page()
            copies.append((pages[i], page))
            self.tree.release([pages[i]])
            pages[i] = page
        pages += self.take(num_more)
        return tuple(copies)

    def take(self, num_pages: int) -> list[int]:
        """Returns pages that no sequence holds; there have to be enough."""
        return [self._new_page() for _ in range(num_pages)]

    def num_lacking(self, sequence: Sequence, end: int) -> int:
        """Returns how many pages a sequence needs at most to write until `end`."""
        # The page that is written first may be shared, and copied.
        return self.sizes.pages_for(end) - len(sequence.pages) + 1

    def share(self, sequence: Sequence) -> None:
        """Offers the full pages of a sequence to others."""
        num_full = sequence.num_computed // self.sizes.page_size
        is_new = num_full > sequence.num_in_tree
        if is_new and sequence.is_shareable and self.sizes.has_prefixes:
            sequence.num_in_tree = self.tree.insert(
                sequence.tokens[: num_full * self.sizes.page_size],
                sequence.group,
                sequence.pages,
                sequence.num_in_tree,
            )

    def _new_page(self) -> int:
        if not self.pool.num_free:
            self.tree.make_room()
            self.num_forgotten += 1
        return self.pool.take()

    def _matched(self, sequence: Sequence) -> list[int]:
        if not self.sizes.has_prefixes:
            return []
        # The next token is made of the last one, which is read then.
        most = (len(sequence.tokens) - 1) // self.sizes.page_size
        return self.tree.match(sequence.tokens, sequence.group, most)

    def _shared_with(self, leader: Sequence) -> list[int]:
        pages = leader.pages[: self.sizes.pages_for(leader.num_prompt - 1)]
        for page in pages:
            self.tree.hold(page)
        return pages


def _has_read_all(leader: Sequence, sequence: Sequence) -> bool:
    return (
        leader.phase is Phase.RUNNING
        and len(sequence.tokens) == leader.num_prompt
        and leader.num_computed >= leader.num_prompt - 1
    )
