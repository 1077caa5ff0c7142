"""Edit distance of names, against a search through all edits."""

import collections
import itertools

from kauldron import errors

_LETTERS = "abc"
_WORDS = ["".join(w) for n in range(4) for w in itertools.product(_LETTERS, repeat=n)]


def _edits(word):
    for i in range(len(word) + 1):
        yield from (word[:i] + letter + word[i:] for letter in _LETTERS)
    for i in range(len(word)):
        yield word[:i] + word[i + 1 :]
        yield from (word[:i] + letter + word[i + 1 :] for letter in _LETTERS)
    for i in range(len(word) - 1):
        yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _distances(start, longest):
    distances, queue = {start: 0}, collections.deque([start])
    while queue:
        word = queue.popleft()
        for other in _edits(word):
            if len(other) <= longest and other not in distances:
                distances[other] = distances[word] + 1
                queue.append(other)
    return distances


def test_is_the_least_number_of_edits():
    for start in ("", "abc", "cab", "aab", "cba"):
        distances = _distances(start, longest=4)
        assert {w: errors.edit_distance(start, w) for w in _WORDS} == {
            w: distances[w] for w in _WORDS
        }


def test_equal_beginnings_and_ends_cost_nothing():
    for start, end in itertools.product(["", "ab", "ca", "abcab"], repeat=2):
        for a, b in (("cab", "ac"), ("abc", "ca"), ("a", "")):
            whole = errors.edit_distance(start + a + end, start + b + end)
            assert whole == errors.edit_distance(a, b)


def test_a_swap_around_a_lost_letter_is_two_edits():
    assert errors.edit_distance("hidnd_size", "hidden_size") == 2
    assert errors.is_probable_typo("mn_features", ["num_features"])
