"""The flow between services is drawn from their descriptions alone."""

from antiphon.runtime.description import EventDescription, HandlerDescription, ServiceDescription
from antiphon.runtime.flow import Edge, boxes, flow_of, mermaid


def event(name, topic="shop"):
    return EventDescription(name, topic)


def handler(name, reads, emits=()):
    return HandlerDescription(
        name=name,
        place=f"shop.{name} (shop.py:1)",
        events=tuple(map(event, reads)),
        emits=tuple(map(event, emits)),
        guarantee="at_least_once",
        reason="it has no Transaction",
        policy="park",
    )


def service(name, *handlers, replicas=()):
    return ServiceDescription(name=name, group=name, broker="memory:///", handlers=handlers, replicas=replicas)


INVENTORY = service("inventory", handler("reserve", ["PaymentAuthorised"], ["InventoryReserved"]))
PAYMENTS = service("payments", handler("authorise", ["OrderPlaced"], ["PaymentAuthorised", "PaymentDeclined"]))


def test_events_meet_by_topic_and_name_whichever_class_declares_them():
    edges = flow_of([INVENTORY, PAYMENTS]).edges
    assert Edge("PaymentAuthorised", "shop", ("payments", "authorise"), ("inventory", "reserve")) in edges


def test_the_same_name_on_another_topic_is_another_event():
    reading = HandlerDescription(
        name="note", place="", events=(event("OrderPlaced", "archive"),), guarantee="", reason="", policy=""
    )
    other = ServiceDescription(name="audit", group="audit", broker="memory:///", handlers=(reading,))
    edges = flow_of([PAYMENTS, other]).edges
    assert [(edge.topic, edge.handled_by) for edge in edges if edge.event == "OrderPlaced"] == [
        ("shop", ("payments", "authorise")),
        ("archive", ("audit", "note")),
    ]


def test_what_nobody_emits_comes_from_outside_and_what_nobody_handles_is_shown():
    edges = flow_of([PAYMENTS]).edges
    assert Edge("OrderPlaced", "shop", None, ("payments", "authorise")) in edges
    assert Edge("PaymentDeclined", "shop", ("payments", "authorise"), None) in edges


def test_every_listener_of_one_event_gets_an_edge():
    one, two = service("one", handler("a", ["OrderPlaced"])), service("two", handler("b", ["OrderPlaced"]))
    assert len(flow_of([one, two]).edges) == 2


def test_services_come_in_the_order_in_which_the_story_reaches_them():
    assert [one.name for one in flow_of([INVENTORY, PAYMENTS]).services] == ["payments", "inventory"]


def test_a_circle_of_services_is_drawn_once():
    ping, pong = service("ping", handler("a", ["Pong"], ["Ping"])), service("pong", handler("b", ["Ping"], ["Pong"]))
    assert [one.name for one in flow_of([ping, pong]).services] == ["ping", "pong"]


def test_mermaid_draws_a_node_for_each_handler_and_an_arrow_for_each_event():
    text = mermaid(flow_of([PAYMENTS, INVENTORY]))
    assert text.startswith("flowchart LR\n")
    assert 'payments__authorise -->|"PaymentAuthorised"| inventory__reserve' in text
    assert 'inventory__reserve -.->|"InventoryReserved"| nobody' in text
    assert 'outside -->|"OrderPlaced"| payments__authorise' in text


def test_mermaid_ids_never_hold_its_own_words_or_signs():
    text = mermaid(flow_of([service("end", handler("class", ["x"])), service('a "b"-c', handler("d", ["x"]))]))
    assert 'subgraph service__end["end"]' in text
    assert 'end__class["class"]' in text
    assert 'subgraph service__a__b__c["a #quot;b#quot;-c"]' in text


def test_boxes_line_up():
    text = boxes(flow_of([PAYMENTS, INVENTORY]))
    assert text.splitlines()[:6] == [
        "┌─ payments ────────────────────────────────────┐",
        "│ OrderPlaced ─▶ authorise ─▶ PaymentAuthorised │",
        "│                          ─▶ PaymentDeclined   │",
        "└───────────────────────────────────────────────┘",
        "   PaymentAuthorised ─▶ inventory",
        "   PaymentDeclined   ─▶ nobody",
    ]


def test_a_service_without_handlers_and_one_with_only_a_replica_have_boxes():
    text = boxes(flow_of([service("idle"), service("catalog", replicas=(event("ProductListed"),))]))
    assert "(no handlers)" in text
    assert "ProductListed ─▶ (replica)" in text
