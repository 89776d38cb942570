"""The keeper of a server that several test processes share; started by `shared_server`."""

import sys
from pathlib import Path

from antiphon.testing.servers.shared import keep

keep(sys.argv[1], Path(sys.argv[2]))
