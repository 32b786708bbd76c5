"""Mean and deviation of the training images: of them alone, so that nothing of other patients enters a network."""

import numpy as np

from medimg.training.data import Part

_AT_ONCE = 64  # images


def moments(part: Part) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over every pixel of the part, images in 0…1; each sample once."""
    total, squares, pixels = 0.0, 0.0, 0
    for start in range(0, len(part), _AT_ONCE):
        images = part.images[part.rows[start : start + _AT_ONCE]]
        values = images.astype(np.float64).swapaxes(0, 1).reshape(images.shape[1], -1)
        if np.issubdtype(images.dtype, np.integer):
            values /= np.iinfo(images.dtype).max
        total, squares = total + values.sum(1), squares + (values**2).sum(1)
        pixels += values.shape[1]
    mean = np.asarray(total / pixels)
    deviation = np.sqrt(np.maximum(squares / pixels - mean**2, 1e-12))  # above 0 for blank images too
    return tuple(mean.tolist()), tuple(deviation.tolist())
