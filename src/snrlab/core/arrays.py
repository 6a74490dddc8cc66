"""The arrays of the maths: float64, so that tables over a thousand timesteps are exact where a step reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
