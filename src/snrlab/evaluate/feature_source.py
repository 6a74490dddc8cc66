"""Where the features of pictures come from, as --features names it. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from snrlab.core.errors import UserError, nearest

STYLE_CLASSIFIER = "judge"  # the style classifier's name on the command line and in tables


def refuse_missing_features(path: Path) -> None:
    """Check that there is a folder or a file of a feature network (UserError)."""
    if not path.exists():
        hint = f" Did you mean '{STYLE_CLASSIFIER}'?" if nearest(str(path), [STYLE_CLASSIFIER]) else ""
        raise UserError(
            f"--features: there is no folder or file {path}.{hint} Allowed: {STYLE_CLASSIFIER}, a folder of a "
            "transformers vision model, or a file with Inception weights.",
            code="missing-file",
        )
