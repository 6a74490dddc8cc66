"""Reproducible matrix products: the same bits wherever the operands lie in memory."""

from __future__ import annotations

import os

MKL_MODE = "AVX2,STRICT"


def fix_mkl_rounding() -> None:
    """Set MKL_CBWR, unless the user has, so that a product's last digits do not depend on memory alignment.

    torch multiplies matrices with MKL on x86 processors. MKL reads the variable at its first product, so this must run
    before torch computes anything; other libraries ignore it, and child processes inherit it. docs/decisions/0008
    describes what it changes and costs.
    """
    os.environ.setdefault("MKL_CBWR", MKL_MODE)
