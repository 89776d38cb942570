"""A failed command ends with a documented code, one line, and a hint where the command line knows one."""

import pytest

from antiphon import errors
from antiphon.cli.failures import ExitCode, exit_code, report


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("x"), ExitCode.USAGE),
        (errors.DeclarationError("x"), ExitCode.USAGE),
        (errors.UnknownTopicError("x"), ExitCode.USAGE),
        (errors.ConnectionLostError("x"), ExitCode.UNAVAILABLE),
        (errors.AccessDeniedError("x"), ExitCode.UNAVAILABLE),
        (errors.StoreAccessError("x"), ExitCode.UNAVAILABLE),
        (errors.StoreCorruptError("x"), ExitCode.UNAVAILABLE),
        (errors.StoreFullError("x"), ExitCode.UNAVAILABLE),
        (errors.PublishError([errors.Refusal("orders", "1", "too large")]), ExitCode.FAILURE),
        (errors.RejectError("x"), ExitCode.FAILURE),
    ],
)
def test_whose_fault_it_is_decides_the_exit_code(error, code):
    assert exit_code(error) == code


def test_every_error_of_ours_has_a_code():
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    ours = [kind for kind in classes if issubclass(kind, errors.AntiphonError)]
    assert len(ours) > 20
    assert all(exit_code(kind.__new__(kind)) in set(ExitCode) for kind in ours)


def test_an_error_of_several_lines_is_told_in_one(capsys):
    report(errors.SettingsError("a\nb\n  c"))
    assert capsys.readouterr().err == "error: a b c\n"


def test_a_broker_that_is_down_is_told_with_a_hint(capsys):
    assert report(errors.ConnectionLostError("kafka://host: refused")) == 3
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "error: kafka://host: refused"
    assert told[1].startswith("hint:  is the broker running?")


@pytest.mark.parametrize("error", [errors.StoreUnavailableError, errors.StoreReadOnlyError])
def test_only_a_file_can_be_held_by_another_process_or_lie_elsewhere(capsys, error):
    report(error("/srv/shop.db: cannot write"))
    assert capsys.readouterr().err.splitlines()[1].startswith("hint:  another p")
    report(error("postgresql://db/shop: cannot write"))
    assert capsys.readouterr().err == "error: postgresql://db/shop: cannot write\n"


def test_a_schema_that_cannot_be_seen_may_be_one_that_the_user_may_not_use(capsys):
    told = "postgresql://db/shop: cannot run a statement"
    report(errors.StoreAccessError(f"{told}: the schema is not there; antiphon storage migrate makes it"))
    assert capsys.readouterr().err.splitlines()[1].startswith("hint:  or it is there, and this user may not use it")
    report(errors.StoreAccessError(f"{told}: no password supplied"))
    assert len(capsys.readouterr().err.splitlines()) == 1
