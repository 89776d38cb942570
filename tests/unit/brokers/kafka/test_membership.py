"""What a group's members were given is read as Kafka writes it."""

from antiphon.brokers.kafka.membership import assigned
from antiphon.brokers.ports import Partition

FOUR = (
    b"\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01"
    b"\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x00"
)
"""As Kafka 4.3 answered for a member that reads all four partitions of `t`."""


def test_an_assignment_names_each_partition():
    assert assigned(FOUR) == [Partition("t", number) for number in range(4)]


def test_what_is_no_assignment_names_none():
    assert assigned(b"") == assigned(b"\x00") == assigned(FOUR[:11]) == []
