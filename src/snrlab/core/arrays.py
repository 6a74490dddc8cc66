"""Array type of the maths: float64 NumPy arrays, so that tables over a thousand timesteps keep full precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
