"""How loops over pixels are compiled: by Numba when they are first called, and kept on the disk for the next process.

They work in place on float32 arrays, whole in memory. Loops are split so that the compiler can make vector instructions
of all but those that gather; sums are taken in an order that is written down, so that they are the same everywhere.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

F = TypeVar("F", bound=Callable[..., Any])
Floats = np.ndarray[Any, np.dtype[np.float32]]


def compiled(function: F) -> F:
    """Compile when first called; where no folder can be written, in each process anew."""
    made = partial(njit, function, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "nnan"})
    try:
        return cast(F, made(cache=True))
    except RuntimeError:
        return cast(F, made())
