"""What every publisher does: a fixture `publisher`, and one that reads what it told."""

from __future__ import annotations

import json

from kauldron import kd

EVENTS = [
    kd.tracking.Event(kind="started", run="digits", time=1.0),
    kd.tracking.Event(
        kind="metric",
        run="digits",
        step=2,
        collection="train",
        values={"losses/total": float("nan"), "metrics/accuracy": 0.5},
        time=2.0,
    ),
    kd.tracking.Event(
        kind="evaluation",
        run="digits",
        step=4,
        collection="eval",
        values={"metrics/accuracy": 0.75},
        time=3.0,
    ),
    kd.tracking.Event(kind="checkpoint", run="digits", step=4, time=4.0),
    kd.tracking.Event(
        kind="failed",
        run="digits",
        step=5,
        status="failed",
        message="ValueError: bad [batch]\nmore",
        time=5.0,
    ),
    kd.tracking.Event(kind="ended", run="digits", step=5, status="done", time=6.0),
]


class Contract:
    """Tests of a publisher, given fixtures `publisher` and `told`.

    `told()` returns the lines that were told; `None` if it tells nobody.
    """

    def test_it_is_a_publisher(self, publisher):
        assert isinstance(publisher, kd.tracking.Publisher)

    def test_it_tells_every_event_in_order(self, publisher, told):
        for event in EVENTS:
            publisher.publish(event)
        publisher.close()
        lines = told()
        if lines is not None:
            assert len(lines) == len(EVENTS)
            for event, line in zip(EVENTS, lines, strict=True):
                assert line in (event.to_json(), event.describe())

    def test_it_may_be_closed_twice_and_used_again(self, publisher, told):
        publisher.close()
        publisher.publish(EVENTS[0])
        publisher.close()
        publisher.close()
        lines = told()
        assert lines is None or len(lines) == 1


def check_strict(line):
    """Raises if a line holds what JSON does not know, such as NaN."""

    def refuse(name):
        raise ValueError(name)

    return json.loads(line, parse_constant=refuse)
