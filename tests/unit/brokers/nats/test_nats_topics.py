"""What a server did not keep of a stream's configuration is found."""

from antiphon.brokers.nats.topics import dropped_options


def test_an_option_that_an_old_server_dropped_is_named() -> None:
    wanted = {"name": "orders", "allow_atomic": True, "allow_direct": True, "max_age": 0, "metadata": {"a": "1"}}
    assert dropped_options(wanted, {"name": "orders", "allow_direct": True}) == ["allow_atomic", "metadata"]


def test_what_the_server_adds_is_none_of_ours() -> None:
    wanted = {"subjects": ["orders.0"], "metadata": {"a": "1", "b": ""}, "max_age": 0}
    kept = {"subjects": ["orders.0"], "metadata": {"a": "1", "_nats.ver": "2.15"}, "discard": "old"}
    assert dropped_options(wanted, kept) == []
