"""Data is shown for reading without losing a digit, and differences line by line."""

from msgspec.structs import replace

from antiphon.deadletters.differences import differences, pretty
from tests.unit.deadletters.letters import letter

MESSAGE = letter(1).message


def test_json_is_spread_over_lines_with_its_digits_as_they_came():
    assert pretty(MESSAGE) == '{\n  "order_id": "o-1",\n  "total": 1.50\n}'


def test_what_is_no_json_is_shown_as_what_it_is():
    assert pretty(replace(MESSAGE, data=b"{broken")) == "{broken"
    assert pretty(replace(MESSAGE, data=b"\xff", content_type="image/png")) == "(1 bytes of image/png)"
    assert pretty(replace(MESSAGE, data=b"\xff", content_type=None)) == "(1 bytes of unknown content)"
    assert pretty(replace(MESSAGE, data=None)) == "(tombstone)"


def test_only_lines_that_differ_are_marked():
    lines = differences(MESSAGE, replace(MESSAGE, data=b'{"order_id":"o-1","total":2}'))
    assert lines[:2] == ["--- before", "+++ after"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ['-  "total": 1.50', '+  "total": 2']


def test_the_same_data_has_no_differences_however_it_is_spaced():
    assert differences(MESSAGE, replace(MESSAGE, data=b'{ "order_id": "o-1", "total": 1.50 }')) == []
