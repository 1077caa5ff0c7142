"""One flag is followed through few files."""

from tests.benchmarks import hops


def test_one_flag_visits_few_files():
    visits = hops.visits_of_a_flag()
    assert len(visits) <= 25, "\n".join(visits)


def test_a_visit_is_a_change_of_the_file():
    from kauldron import errors

    assert len(hops.list_visits(lambda: errors.nearest("a", ["b"]))) == 1
    assert hops.list_visits(lambda: max(1, 2)) == []
