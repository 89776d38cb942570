"""A worker's command is the given one for one process, with a port of its own."""

from antiphon.cli.workers import worker_command


def test_a_worker_runs_alone_and_answers_probes_on_a_port_of_its_own():
    command = worker_command(["run", "payments", "--workers", "3", "--reload"], 2, 8000)
    assert command[1:] == [
        "-m",
        "antiphon",
        *["run", "payments", "--workers", "3"],
        *["--worker", "2", "--workers", "1", "--health", "8002"],
    ]


def test_a_free_port_and_no_port_are_left_to_the_worker():
    assert "--health" not in worker_command(["run"], 1, None)
    assert "--health" not in worker_command(["run"], 1, 0)
