"""What is missing in a store is shown without touching it, and applied when asked, whichever store it is."""

import json

import pytest

from antiphon.storage.migrations import own_migrations

MIGRATION = "create table ledger (id integer, data blob)"
OWN = ["antiphon"] * len(own_migrations())


@pytest.fixture
def tables(project):
    """The project, with a table of its own that PostgreSQL has to be told in other words."""
    service = project / "payments" / "service.py"
    service.write_text(service.read_text().replace('Service("payments", ', 'Service("payments", migrations="tables", '))
    folder = project / "payments" / "tables"
    (folder / "postgres").mkdir(parents=True)
    (folder / "0001_make_ledger.sql").write_text(MIGRATION)
    (folder / "postgres" / "0001_make_ledger.sql").write_text(MIGRATION.replace("blob", "bytea"))
    return project


def steps(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def components(done):
    return [step["component"] for step in steps(done)]


def test_a_plan_for_a_log_that_is_not_there_makes_none(tables, ask):
    done = ask("storage", "plan")
    assert done.stdout.startswith(
        f"sqlite:///{tables}/.antiphon/log.db: {len(OWN) + 2} to apply\n  antiphon  0001 make_inbox"
    )
    assert "\n  embedded  0001 make_log\n  service:payments  0001 make_ledger\n" in done.stdout
    assert not (tables / ".antiphon").exists()


def test_what_was_migrated_is_missing_no_more(tables, ask):
    assert components(ask("storage", "migrate", "--json")) == [*OWN, "embedded", "service:payments"]
    assert (tables / ".antiphon" / "log.db").exists()
    assert steps(ask("storage", "migrate", "--json")) == []
    assert ask("storage", "plan").stdout == "every table is up to date\n"


def test_a_server_is_told_its_own_words(tables, ask, postgres_url):
    planned = steps(ask("storage", "plan", "--store", postgres_url, "--json"))
    assert [step["component"] for step in planned] == [*OWN, "service:payments"]
    assert planned[-1]["sql"] == MIGRATION.replace("blob", "bytea")
    assert planned[-1]["store"] == postgres_url
    done = ask("storage", "plan", "--store", postgres_url, "--sql")
    assert "  service:payments  0001 make_ledger\n      create table ledger (id integer, data bytea)\n" in done.stdout
    assert steps(ask("storage", "migrate", "--store", postgres_url, "--json")) == planned
    assert ask("storage", "plan", "--store", postgres_url).stdout == "every table is up to date\n"


def test_a_broker_on_a_server_has_its_own_tables_there(tables, ask, postgres_url):
    planned = steps(ask("storage", "plan", "--broker", postgres_url, "--json"))
    assert [step["component"] for step in planned] == [*OWN, "log", "service:payments"]
    assert steps(ask("storage", "migrate", "--broker", postgres_url, "--json")) == planned
    assert ask("storage", "plan", "--broker", postgres_url).stdout == "every table is up to date\n"


def test_the_store_of_the_settings_is_the_one(tables, ask, postgres_url):
    settings = tables / "antiphon.toml"
    settings.write_text(f'store = "{postgres_url}"\n{settings.read_text()}')
    planned = steps(ask("storage", "plan", "--json"))
    assert {step["store"] for step in planned} == {postgres_url}
    assert [step["component"] for step in planned] == [*OWN, "service:payments"]


@pytest.mark.parametrize("with_modules", [True, False])
def test_tables_in_memory_are_refused(tables, ask, with_modules):
    if not with_modules:
        (tables / "antiphon.toml").unlink()
    done = ask("storage", "plan", "--broker", "memory:///")
    assert done.returncode == 2
    assert "memory:/// keeps its tables in memory: name a store that stays with --store" in done.stderr


LEFT_OUT = "the services' own tables were not looked at: name their modules, as in antiphon storage plan payments\n"


def test_without_a_module_it_says_that_the_tables_of_services_were_left_out(tables, ask):
    (tables / "antiphon.toml").unlink()
    made = ask("storage", "migrate", "--store", "sqlite:///shop.db")
    assert made.stdout.endswith(LEFT_OUT)
    assert ask("storage", "plan", "--store", "sqlite:///shop.db").stdout == f"every table is up to date\n{LEFT_OUT}"
    assert LEFT_OUT not in ask("storage", "plan", "payments", "--store", "sqlite:///shop.db").stdout
    assert steps(ask("storage", "plan", "--store", "sqlite:///shop.db", "--json")) == []


def test_a_log_is_made_only_where_somebody_said_so(tables, ask):
    (tables / "antiphon.toml").unlink()
    done = ask("storage", "migrate")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"there is no log at {tables}/.antiphon/log.db and no antiphon.toml: name a store" in done.stderr
    assert not (tables / ".antiphon").exists()
    assert components(ask("storage", "migrate", "--broker", "embedded:///log.db", "--json")) == [*OWN, "embedded"]


@pytest.mark.parametrize(
    ("store", "code", "told"),
    [
        ("postgresql://ada:s3cret@127.0.0.1:1/shop?patience=1s", 3, "postgresql://127.0.0.1:1/shop: cannot connect"),
        ("postgresql://ada:s3cret@127.0.0.1/shop?schem=x", 2, "did you mean 'schema'?"),
        ("oracle://ada:s3cret@db/shop", 2, "no store has the scheme 'oracle' of oracle://ada:***@db/shop"),
    ],
)
def test_a_store_that_cannot_be_asked_is_told_without_its_password(ask, store, code, told):
    for command in ("plan", "migrate"):
        done = ask("storage", command, "--store", store)
        assert done.returncode == code
        assert told in done.stderr
        assert "s3cret" not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
