"""`python -m personalrm`."""

import sys

from personalrm.app.cli import main

sys.exit(main())
