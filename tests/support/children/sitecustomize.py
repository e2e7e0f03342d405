"""The processes that tests start have no torch, as users have none: transformers imports it wherever it is installed,
which takes longer than all else that such a process imports."""

import sys

sys.modules["torch"] = None  # type: ignore[assignment]  # `find_spec` and `import` then say that there is none
