"""How matrix products round: to the same bits wherever their operands lie in memory."""

from __future__ import annotations

import os

MKL_MODE = "AVX2,STRICT"


def fix_mkl_rounding() -> None:
    """Set MKL_CBWR, unless the user has: the last digits of a product then do not depend on where memory lies.

    MKL is what torch multiplies matrices with on x86 processors. It reads the variable at its first product, so this
    has to come before torch computes anything; other libraries ignore it, and processes that are started inherit it.
    docs/decisions/0008 has what it changes and costs.
    """
    os.environ.setdefault("MKL_CBWR", MKL_MODE)
