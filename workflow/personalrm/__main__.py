"""`python -m personalrm`."""

import sys

from personalrm.cli import main

sys.exit(main())
