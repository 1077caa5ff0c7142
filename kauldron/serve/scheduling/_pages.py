"""Which pages of a pool are free, and how many hold each of the others."""

from __future__ import annotations

from collections.abc import Iterable


class PagePool:
    """Pages `0 ... num_pages - 1`, each free or held by one or more.

    What holds a page, an answer or the tree of prefixes, counts once. A page that
    several hold may be read, never written.

    Args:
      num_pages: How many there are, >= 1.
    """

    def __init__(self, num_pages: int) -> None:
        if num_pages < 1:
            raise ValueError(f"A pool needs a page: got num_pages={num_pages}.")
        self.num_pages = num_pages
        # The lowest first, so that the pool fills from one end.
        self._free = list(range(num_pages - 1, -1, -1))
        self._holders = [0] * num_pages

    @property
    def num_free(self) -> int:
        """Pages that nobody holds."""
        return len(self._free)

    def take(self) -> int:
        """Returns a free page, which the caller holds from now on.

        Raises:
          IndexError: If there is none.
        """
        page = self._free.pop()
        self._holders[page] = 1
        return page

    def hold(self, page: int) -> None:
        """Adds a holder to a page that is held."""
        if not self._holders[page]:
            raise ValueError(f"Page {page} is free: `take` it.")
        self._holders[page] += 1

    def release(self, page: int) -> int:
        """Takes one holder away; returns how many are left. Without any, it is free."""
        if not self._holders[page]:
            raise ValueError(f"Page {page} is free already.")
        self._holders[page] -= 1
        if not self._holders[page]:
            self._free.append(page)
        return self._holders[page]

    def holders(self, page: int) -> int:
        """Returns how many hold a page."""
        return self._holders[page]

    def check(self, held: Iterable[int]) -> None:
        """Raises `AssertionError` unless these are all holders, one entry for each."""
        counts = [0] * self.num_pages
        for page in held:
            counts[page] += 1
        assert counts == self._holders, "a page is held by others than it counts"
        free = sorted(self._free)
        assert free == [p for p, n in enumerate(counts) if not n], "a free page is held"
