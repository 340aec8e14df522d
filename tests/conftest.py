"""Makes the helpers in ``tests/model_export`` and ``tests/hw`` importable from every test."""

import sys
from pathlib import Path

for folder in ("model_export", "hw"):
    sys.path.insert(0, str(Path(__file__).parent / folder))
