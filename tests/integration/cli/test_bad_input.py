"""Wrong input is answered in one line that names it and says how to mend it, never with a traceback."""

import os

import pytest


def refused(done, code, *told):
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    for text in told:
        assert text in done.stderr
    return True


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        (
            "empty.py",
            "x = 1\n",
            "empty has no Service: it has x; a service is made as in payments = Service('payments')",
        ),
        ("boom.py", "def f():\n    {}['nope']\nf()\n", "boom.py:2: KeyError: 'nope'"),
        ("needs.py", "import no_such_package\n", "needs.py:1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("syntax.py", "x = 1\ndef f(:\n", "syntax.py:2: invalid syntax"),
        ("leaves.py", "raise SystemExit(3)\n", "leaves.py:1: SystemExit: 3"),
        ("declares.py", "from antiphon import event\n@event\nclass A: ...\n", "declares.py:2: "),
    ],
)
def test_a_module_that_cannot_be_used_is_told_with_file_and_line(ask, file, text, told):
    (ask.folder / file).write_text(text)
    assert refused(ask("describe", file), 2, told)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("payment", "there is no module 'payment'; did you mean 'payments'?"),
        ("payments.service:nope", "payments.service has no 'nope': it has the services payments"),
        ("payments.service:Service", "payments.service:Service is no Service but of type type"),
        ("payments/nope.py", "there is no file payments/nope.py"),
    ],
)
def test_a_module_that_is_not_there_is_answered_with_what_there_is(ask, module, told):
    assert refused(ask("describe", module), 2, told)


@pytest.mark.parametrize("module", ["payments", "payments.service", "payments.service:payments", "payments/service.py"])
def test_every_form_of_a_module_finds_the_service(ask, module):
    found = ask("describe", module)
    assert found.stdout.startswith("payments  (group payments)\n")
    assert ask("describe", module, "payments").stdout.count("(group payments)") == 1


def test_no_module_at_all_says_how_to_give_one(ask):
    (ask.folder / "antiphon.toml").write_text("")
    assert refused(ask("run"), 2, "no module was given", 'modules = ["payments"]')


@pytest.mark.parametrize(
    ("text", "told"),
    [('brokr = "x"', "antiphon.toml: unknown setting 'brokr': did you mean 'broker'"), ("broker = ", "not TOML")],
)
def test_a_wrong_settings_file_is_named(ask, text, told):
    (ask.folder / "antiphon.toml").write_text(text)
    assert refused(ask("topics"), 2, told)


def test_an_event_that_names_its_module_can_be_published_without_settings(ask):
    (ask.folder / "antiphon.toml").unlink()
    assert ask("publish", "payments.events:OrderPlaced", "order_id=1", "total=1").returncode == 0
    assert refused(ask("publish", "OrderPlaced", "order_id=1", "total=1"), 2, "publish --module payments")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[topics.order]", "[topics.order]: the modules have no such topic; did you mean 'orders'?"),
        ("[services.payment]", "[services.payment]: the modules have no such service; did you mean 'payments'?"),
    ],
)
def test_a_table_about_what_is_not_there_is_refused(ask, table, told):
    (ask.folder / "antiphon.toml").write_text(f'modules = ["payments"]\n{table}\n')
    assert refused(ask("describe"), 2, told)


def test_a_wrong_variable_is_named(ask):
    assert refused(ask("topics", ANTIPHON_BROKR="x"), 2, "ANTIPHON_BROKR", "did you mean 'ANTIPHON_BROKER'")


def test_an_unknown_scheme_is_answered_with_those_there_are(ask):
    assert refused(ask("topics", "--broker", "pigeon://host"), 2, "embedded://", "kafka://")


def test_looking_into_a_log_that_is_not_there_does_not_make_one(ask):
    for command in (["topics"], ["groups"], ["dead-letters", "list"], ["tail", "orders"]):
        assert refused(ask(*command), 3, "there is no log at")
    assert not (ask.folder / ".antiphon").exists()


@pytest.mark.parametrize("command", [["topics"], ["run"], ["publish", "OrderPlaced", "order_id=1", "total=1"]])
def test_a_file_that_is_no_log_is_refused_and_left_as_it_is(antiphon, command):
    foreign = antiphon.folder / "foreign.db"
    foreign.write_bytes(b"this is a letter, not a database. " * 100)
    before = foreign.read_bytes()
    refused_ = antiphon(*command, "--broker", "embedded:///foreign.db")
    assert refused(refused_, 3, "foreign.db", "not a SQLite database")
    assert foreign.read_bytes() == before


def test_a_truncated_log_is_told_apart(ask):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    log = ask.folder / ".antiphon" / "log.db"
    os.truncate(log, 3000)
    assert refused(ask("topics"), 3, str(log), "damaged")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["OrderPlacd", "order_id=1"], "no event is called 'OrderPlacd': did you mean 'OrderPlaced'"),
        (["OrderPlaced", "order_id=1", "total=much"], "in `total`"),
        (["OrderPlaced", "order_id=1", "totl=1"], "has no field 'totl'"),
        (["OrderPlaced", "order_id"], "write field=value"),
    ],
)
def test_an_event_that_cannot_be_made_is_not_published(ask, arguments, told):
    assert refused(ask("publish", *arguments), 2, told)
    assert not (ask.folder / ".antiphon").exists()


def test_a_dependency_that_cannot_be_made_is_named(ask):
    (ask.folder / "banking.py").write_text(
        "from antiphon import Service\nbanking = Service('banking')\nclass Bank: ...\n"
        "@banking.provides\ndef bank() -> Bank:\n    raise OSError('no route to the bank')\n"
    )
    told = "banking.py:4), which provides Bank: OSError: no route to the bank"
    assert refused(ask("run", "banking", ANTIPHON_BROKER="memory:///"), 1, told)


def test_two_services_of_one_group_are_refused_since_each_would_skip_messages_of_the_other(ask):
    (ask.folder / "twins.py").write_text("from antiphon import Service\na = Service('twin')\nb = Service('twin')\n")
    for command in ("describe", "run"):
        assert refused(ask(command, "twins"), 2, "'twin' and 'twin' have one consumer group, 'twin'")


def test_a_port_that_is_taken_is_named(antiphon):
    import socket

    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert refused(antiphon("run", "--health", str(port)), 2, f"port {port} cannot be opened")


def test_a_worker_that_cannot_start_stops_them_all(antiphon):
    (antiphon.folder / "payments" / "service.py").write_text("1 / 0\n")
    done = antiphon("run", "--workers", "2")
    assert done.returncode == 2
    assert "service.py:1: ZeroDivisionError" in done.stderr


def test_a_topic_that_is_not_there_is_answered_with_those_there_are(ask):
    ask("publish", "OrderPlaced", "order_id=1", "total=1")
    assert refused(ask("tail", "order", "--no-follow"), 2, "it has orders")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("kafka://127.0.0.1:1", "Connection refused"),
        ("nats://127.0.0.1:1", "Connect call failed"),
        ("postgresql://127.0.0.1:1/shop?patience=1s", "Connection refused"),
        ("rabbitmq://127.0.0.1:1", "Connect call failed"),
        ("rabbitmq-streams://127.0.0.1:1", "Connect call failed"),
        ("redis://127.0.0.1:1", "Connect call failed"),
    ],
)
def test_a_server_that_is_not_there_is_told_once_and_why_whatever_its_driver_says(ask, url, told):
    done = ask("topics", "--broker", url)
    assert refused(done, 3, "error: ", url.partition("?")[0], told)
    assert "again by itself" not in done.stderr  # a command tries it once
