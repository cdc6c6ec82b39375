"""Where things lie: the repository, its docs, recorded values, and data sets beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GOLDEN = ROOT / "tests" / "golden"
# Real data sets; tests that need them skip where they are not.
SHARED = ROOT.parent / "shared"
