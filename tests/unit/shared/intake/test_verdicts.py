"""Who a reference belongs to, against a slow and obvious model of the unique index."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.intake.items import Item, Refused
from shared.intake.schema import Complaint
from shared.intake.verdicts import DETAILED_MAX, Standing, Verdicts, candidates, decide


def of(index: int, reference: str, content: str) -> Item:
    return Item(index=index, reference=reference, input={"c": content}, digest=content)


def push(database: dict[str, Standing], contents: list[tuple[str, str]], prefix: str) -> Verdicts:
    """A push as intake does it, with a dict for the unique index."""
    items = [of(i, reference, content) for i, (reference, content) in enumerate(contents)]
    mine: dict[str, int] = {}
    for item in candidates(items):
        id = f"{prefix}{item.index}"
        mine[id] = item.index
        database.setdefault(item.reference, Standing(id, item.digest))
    return decide(items, [], standing=database, mine=mine)


pairs = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=8)


@given(st.lists(pairs, max_size=4))
def test_one_reference_is_one_task_for_ever(pushes: list[list[tuple[str, str]]]) -> None:
    database: dict[str, Standing] = {}
    owner: dict[str, tuple[str, str]] = {}
    for number, contents in enumerate(pushes):
        verdicts = push(database, contents, f"{number}.")
        answers = {entry["index"]: entry for entry in verdicts.accepted}
        refused = {item.index for item in verdicts.refused}
        assert answers.keys() | refused == set(range(len(contents)))
        assert not answers.keys() & refused
        for index, (reference, content) in enumerate(contents):
            new = reference not in owner
            id, first_content = owner.setdefault(reference, (f"{number}.{index}", content))
            assert (index in answers) == (content == first_content)
            if index in answers:
                assert answers[index] == {"index": index, "reference": reference, "id": id, "duplicate": not new}


@given(pairs)
def test_a_push_repeated_makes_nothing_and_names_the_same_tasks(contents: list[tuple[str, str]]) -> None:
    database: dict[str, Standing] = {}
    first = push(database, contents, "1.")
    before = dict(database)
    second = push(database, contents, "2.")
    assert database == before
    assert [entry["id"] for entry in second.accepted] == [entry["id"] for entry in first.accepted]
    assert all(entry["duplicate"] for entry in second.accepted)
    assert [item.index for item in second.refused] == [item.index for item in first.refused]


@given(pairs, pairs)
def test_two_pushes_at_once_answer_with_the_same_ids(one: list[tuple[str, str]], two: list[tuple[str, str]]) -> None:
    """Both inserted before either read: whoever's insert came first stands for both."""
    database: dict[str, Standing] = {}
    plans = []
    for prefix, contents in (("1.", one), ("2.", two)):
        items = [of(i, reference, content) for i, (reference, content) in enumerate(contents)]
        mine = {f"{prefix}{item.index}": item.index for item in candidates(items)}
        for item in candidates(items):
            database.setdefault(item.reference, Standing(f"{prefix}{item.index}", item.digest))
        plans.append((items, mine))
    ids: dict[str, set[str]] = {}
    new = 0
    for items, mine in plans:
        for entry in decide(items, [], standing=database, mine=mine).accepted:
            ids.setdefault(entry["reference"], set()).add(entry["id"])
            new += not entry["duplicate"]
    assert all(len(found) == 1 for found in ids.values())
    assert new == len(database)


def test_an_item_that_breaks_a_rule_of_today_and_is_a_task_already_is_a_duplicate() -> None:
    late = Refused(0, "a", [Complaint("DEADLINE_PASSED", "late", "/deadline")], digest="x")
    found = decide([], [late], standing={"a": Standing("t1", "x")}, mine={})
    assert found.accepted == [{"index": 0, "reference": "a", "id": "t1", "duplicate": True}]
    other = decide([], [late], standing={"a": Standing("t1", "y")}, mine={})
    assert other.accepted == []
    assert other.refused == [late]


def test_a_bad_item_is_no_duplicate_of_a_good_one_in_the_same_push() -> None:
    bad = Refused(1, "a", [Complaint("MALFORMED", "priority", "/priority")], digest="x")
    found = decide([of(0, "a", "x")], [bad], standing={"a": Standing("t1", "x")}, mine={"t1": 0})
    assert [entry["index"] for entry in found.accepted] == [0]
    assert found.refused == [bad]


def test_a_flood_of_refused_items_is_told_briefly() -> None:
    complaints = [Complaint("A", "a", ""), Complaint("B", "b", "")]
    verdicts = decide([], [Refused(i, None, complaints) for i in range(DETAILED_MAX + 5)], standing={}, mine={})
    told = verdicts.rejected()
    assert len(told[0]["errors"]) == 2
    assert len(told[-1]["errors"]) == 1
