"""Which example a slot gets: fair to every image, one size to a step, a pure function of the step."""

from collections import Counter
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from snrlab.core.random_streams import data_index
from snrlab.data.example_order import Order, turns_by_step

weights = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def order_of(sizes, total=4, seed=0) -> Order:
    """Buckets whose rows are numbered through, so that a row says which bucket it is of."""
    starts = np.cumsum([0, *sizes[:-1]])
    return Order(seed, total, tuple(np.arange(s, s + n) for s, n in zip(starts, sizes, strict=True)))


@given(weights)
def test_no_bucket_is_a_step_ahead_or_behind(sizes):
    pattern = turns_by_step(sizes)
    had = Counter()
    for step, bucket in enumerate([*pattern, *pattern], 1):
        had[int(bucket)] += 1
        for other, size in enumerate(sizes):
            assert abs(had[other] - Fraction(step * size, sum(sizes))) < 1
    assert all(had[b] == Fraction(2 * len(pattern) * size, sum(sizes)) for b, size in enumerate(sizes))


@given(weights, st.integers(1, 9), st.integers(0, 2**63 - 1))
def test_every_entry_is_seen_equally_often(sizes, total, seed):
    """Within a bucket the counts never differ by more than one, and after its passes they are equal."""
    order = order_of(sizes, total, seed)
    seen = Counter({row: 0 for rows in order.buckets for row in rows.tolist()})
    for step in range(2 * len(order.pattern)):
        rows = order.rows(step, np.arange(total))
        members = order.buckets[order.bucket(step)]
        assert set(rows.tolist()) <= set(members.tolist()), "one bucket to a step"
        seen.update(rows.tolist())
        counts = [seen[row] for row in members.tolist()]
        assert max(counts) - min(counts) <= 1
    assert sum(seen.values()) == 2 * len(order.pattern) * total
    assert max(seen.values()) - min(seen.values()) <= 1


@given(st.integers(1, 50), st.integers(1, 9), st.integers(0, 2**63 - 1), st.integers(0, 10**6))
def test_one_bucket_is_the_plain_order(size, total, seed, step):
    rows = order_of([size], total, seed).rows(step, np.arange(total)).tolist()
    assert rows == [data_index(seed, step, slot, total, size)[1] for slot in range(total)]


@given(weights, st.integers(0, 10**5))
def test_a_batch_is_the_same_in_any_parts_and_at_any_time(sizes, step):
    """Batch 4 equals 2 x 2 and 1 x 4, and a step does not depend on those before it."""
    whole = order_of(sizes).rows(step, np.arange(4))
    order = order_of(sizes)
    halves = [order.rows(step, np.arange(s, s + 2)) for s in (0, 2)]
    ones = [order_of(sizes).rows(step, np.array([s])) for s in range(4)]
    assert whole.tolist() == np.concatenate(halves).tolist() == np.concatenate(ones).tolist()


def test_repeats_are_entries_of_their_own():
    order = Order(0, 1, (np.array([0, 1, 1, 1]),))
    seen = Counter(int(order.rows(step, np.array([0]))[0]) for step in range(8))
    assert seen == {0: 2, 1: 6}
    assert order.entries == 4


def test_every_pass_and_every_bucket_has_an_order_of_its_own():
    order = order_of([30, 30], total=30)
    by_bucket = {b: [tuple(order.rows(s, np.arange(30)) - 30 * b) for s in range(b, 8, 2)] for b in (0, 1)}
    assert len({*by_bucket[0], *by_bucket[1]}) == 8
    assert order_of([30], 30, seed=1).rows(0, np.arange(30)).tolist() != order.rows(0, np.arange(30)).tolist()
