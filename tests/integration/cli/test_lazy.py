"""Help is quick because listing the commands imports none of them."""

import subprocess
import sys


def test_listing_imports_no_command_and_no_room_but_errors():
    listing = "import sys; from antiphon.cli.main import app; app(['--help'], standalone_mode=False); "
    asking = "print(*(name for name in sys.modules if name.startswith('antiphon.')), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", listing + asking], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) == {"antiphon.cli", "antiphon.cli.lazy", "antiphon.cli.main", "antiphon.errors"}
