from meltguard.agent.crowd import Crowd


def a_crowd(most: int = 3, most_of_address: int = 3) -> Crowd[str]:
    return Crowd(most, most_of_address)


def join(crowd: Crowd[str], *names: str, address: str = "stranger", before: int = 0) -> list[str | None]:
    return [crowd.join(name, address, before + number) for number, name in enumerate(names, start=1)]


def test_beyond_the_bound_the_longest_unfinished_gives_way() -> None:
    assert join(a_crowd(), "a", "b", "c", "d") == [None, None, None, "a"]


def test_whose_request_is_whole_gives_way_to_nobody_until_it_is_answered() -> None:
    crowd = a_crowd()
    join(crowd, "a", "b", "c")
    crowd.is_asking("a")
    assert crowd.join("d", "honest", 4) == "b"
    crowd.is_unfinished("a")  # answered: it idles since now
    assert crowd.join("e", "honest", 4) == "c"
    assert crowd.join("f", "honest", 4) == "d"
    assert crowd.join("g", "honest", 4) == "a"


def test_a_piece_more_of_a_request_does_not_make_it_younger() -> None:
    crowd = a_crowd()
    join(crowd, "a", "b", "c")
    crowd.is_unfinished("a")
    assert crowd.join("d", "stranger", 4) == "a"


def test_where_all_are_being_answered_the_new_one_goes() -> None:
    crowd = a_crowd()
    for name in ("a", "b", "c"):
        crowd.join(name, "stranger", 1)
        crowd.is_asking(name)
    assert crowd.join("d", "other", 4) == "d"


def test_one_address_crowds_out_only_itself() -> None:
    crowd = a_crowd(most=100, most_of_address=2)
    assert crowd.join("leader", "operator", 1) is None
    assert join(crowd, "a", "b", "c", "d") == [None, None, "a", "b"]


def test_who_left_counts_no_more() -> None:
    crowd = a_crowd(most_of_address=1)
    crowd.join("a", "stranger", 1)
    crowd.leave("a")
    crowd.leave("a")
    assert crowd.join("b", "stranger", 1) is None
    crowd.is_unfinished("a")
    assert crowd.join("c", "stranger", 2) == "b"
