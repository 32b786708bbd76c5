"""Compiled loops that take a pixel from others: warp, lower resolution, blur."""

import numpy as np

from medimg.augment.compiled import Floats, compiled


@compiled
def warp2(images: Floats, at: np.ndarray, maps: np.ndarray, bends: np.ndarray, shifts: Floats) -> None:
    """Bilinear interpolation of the pictures ``at`` at other coordinates; what comes from beyond the edge is 0.

    Args:
        images: ``(N, C, H, W)``.
        at: int64 ``(n,)``.
        maps: float64 ``(n, 2, 3)``, pixels from the centre of the result → of the source.
        bends: place in ``shifts`` of each of ``at``, int64 ``(n,)``; -1: none.
        shifts: added before the map, ``(k, 2, H, W)``.
    """
    _, channels, height, width = images.shape
    stride = width + 3
    # A frame of zeros: coordinates are counted in it and held within, so that no pixel needs a question.
    framed = np.zeros((channels, (height + 3) * stride), np.float32)
    place = np.empty(width, np.uint32)
    down, across = np.empty(width, np.float32), np.empty(width, np.float32)
    bottom, right = np.float32(height + 1), np.float32(width + 1)
    for one in range(len(at)):
        image = images[at[one]]
        for channel, row in np.ndindex(channels, height):
            start = (row + 1) * stride + 1
            framed[channel, start : start + width] = image[channel, row]
        m = maps[one]
        step_y, step_x = np.float32(m[0, 1]), np.float32(m[1, 1])
        for row in range(height):
            y = row - (height - 1) / 2
            x = -(width - 1) / 2
            first_y = np.float32(m[0, 0] * y + m[0, 1] * x + m[0, 2] + (height - 1) / 2 + 1)
            first_x = np.float32(m[1, 0] * y + m[1, 1] * x + m[1, 2] + (width - 1) / 2 + 1)
            for column in range(width):
                down[column] = first_y + np.float32(column) * step_y
                across[column] = first_x + np.float32(column) * step_x
            if bends[one] >= 0:
                bend_y, bend_x = shifts[bends[one], 0, row], shifts[bends[one], 1, row]
                for column in range(width):
                    down[column] += np.float32(m[0, 0]) * bend_y[column] + step_y * bend_x[column]
                    across[column] += np.float32(m[1, 0]) * bend_y[column] + step_x * bend_x[column]
            for column in range(width):
                py = min(max(down[column], np.float32(0)), bottom)
                px = min(max(across[column], np.float32(0)), right)
                iy, ix = np.int32(py), np.int32(px)
                down[column], across[column] = py - np.float32(iy), px - np.float32(ix)
                place[column] = np.uint32(np.int32(iy * np.int32(stride)) + ix)
            for channel in range(channels):
                pixels, line = framed[channel], image[channel, row]
                for column in range(width):
                    p = np.uint64(place[column])
                    share = across[column]
                    q = p + np.uint64(stride)
                    above = pixels[p] + share * (pixels[p + np.uint64(1)] - pixels[p])
                    below = pixels[q] + share * (pixels[q + np.uint64(1)] - pixels[q])
                    line[column] = above + down[column] * (below - above)


@compiled
def warp3(images: Floats, at: np.ndarray, maps: np.ndarray, bends: np.ndarray, shifts: Floats) -> None:
    """Trilinear interpolation: as ``warp2``, of ``(N, C, D, H, W)`` with ``(n, 3, 4)`` and ``(k, 3, D, H, W)``."""
    _, channels, depth, height, width = images.shape
    stride = width + 3
    slab = (height + 3) * stride
    framed = np.zeros((channels, (depth + 3) * slab), np.float32)
    place = np.empty(width, np.uint32)
    along = np.empty((3, width), np.float32)
    ends = np.array([depth + 1, height + 1, width + 1], np.float32)
    middle = np.array([(depth - 1) / 2, (height - 1) / 2, (width - 1) / 2])
    jumps = np.array([slab, stride, 1], np.int32)
    for one in range(len(at)):
        image = images[at[one]]
        for channel, plane, row in np.ndindex(channels, depth, height):
            start = (plane + 1) * slab + (row + 1) * stride + 1
            framed[channel, start : start + width] = image[channel, plane, row]
        m = maps[one]
        bend = bends[one]
        for plane in range(depth):
            for row in range(height):
                place[:] = 0
                for axis in range(3):
                    line_ = along[axis]
                    step, end, jump = np.float32(m[axis, 2]), ends[axis], jumps[axis]
                    first = m[axis, 0] * (plane - middle[0]) + m[axis, 1] * (row - middle[1]) - m[axis, 2] * middle[2]
                    first_ = np.float32(first + m[axis, 3] + middle[axis] + 1)
                    for column in range(width):
                        line_[column] = first_ + np.float32(column) * step
                    if bend >= 0:
                        for other in range(3):
                            factor, more = np.float32(m[axis, other]), shifts[bend, other, plane, row]
                            for column in range(width):
                                line_[column] += factor * more[column]
                    for column in range(width):
                        held = min(max(line_[column], np.float32(0)), end)
                        whole = np.int32(held)
                        line_[column] = held - np.float32(whole)
                        place[column] += np.uint32(np.int32(whole * jump))
                front, down, across = along[0], along[1], along[2]
                for channel in range(channels):
                    voxels, line = framed[channel], image[channel, plane, row]
                    for column in range(width):
                        p = np.uint64(place[column])
                        q = p + np.uint64(stride)
                        r = p + np.uint64(slab)
                        s = r + np.uint64(stride)
                        share, fall = across[column], down[column]
                        a = voxels[p] + share * (voxels[p + np.uint64(1)] - voxels[p])
                        b = voxels[q] + share * (voxels[q + np.uint64(1)] - voxels[q])
                        c = voxels[r] + share * (voxels[r + np.uint64(1)] - voxels[r])
                        d = voxels[s] + share * (voxels[s + np.uint64(1)] - voxels[s])
                        near = a + fall * (b - a)
                        far = c + fall * (d - c)
                        line[column] = near + front[column] * (far - near)


@compiled
def blur(images: Floats, at: np.ndarray, kernels: Floats, tails: np.ndarray, grids: np.ndarray) -> None:
    """Convolve the samples ``at`` along each axis in turn; black beyond the edge.

    Args:
        images: ``(N, pixels)``.
        at: int64 ``(n,)``.
        kernels: ``(n, R, K)``, symmetric, the middle first.
        tails: how many values of a kernel count beside the middle, int64 ``(n, R)``.
        grids: of each axis how many pixels it has and how many lie between two neighbours, int64 ``(R, 2)``.
    """
    pixels = images.shape[1]
    for one in range(len(at)):
        image = images[at[one]]
        for axis in range(len(grids)):
            side, inner = grids[axis]
            _convolve(
                image.reshape((pixels // (side * inner), side * inner)),
                inner,
                kernels[one, axis, : tails[one, axis] + 1],
            )


@compiled
def _convolve(image: Floats, stride: int, kernel: Floats) -> None:
    """Rows of ``(rows, S)`` whose neighbours are ``stride`` apart, all as one line with black between them."""
    count, side = image.shape
    gap = (len(kernel) - 1) * stride
    line = np.zeros(count * (side + gap) + gap, np.float32)
    for row in range(count):
        start = row * (side + gap) + gap
        line[start : start + side] = image[row]
    total = np.empty(len(line) - 2 * gap, np.float32)
    for first in range(0, len(total), 4096):  # a part that stays in the nearest cache
        part, middle, weight = total[first : first + 4096], line[first + gap :], kernel[0]
        for place in range(len(part)):
            part[place] = weight * middle[place]
        for distance in range(1, len(kernel)):
            step, weight = distance * stride, kernel[distance]
            left, right = line[first + gap - step :], line[first + gap + step :]
            for place in range(len(part)):
                part[place] += weight * (left[place] + right[place])
    for row in range(count):
        start = row * (side + gap)
        image[row] = total[start : start + side]


@compiled
def coarse(images: Floats, at: np.ndarray, places: np.ndarray, shares: Floats) -> None:
    """Each value of the samples ``at`` a mean of two along each axis.

    Args:
        images: ``(N, C, D, H, W)``.
        at: int64 ``(n,)``.
        places: of the two, int64 ``(n, 3, 2, S)``, S at least the longest side.
        shares: of the second, ``(n, 3, S)``.
    """
    _, channels, depth, height, width = images.shape
    row = np.empty(width, np.float32)
    for one in range(len(at)):
        found, (fronts, downs, across) = places[one], shares[one]
        left, right = found[2, 0].astype(np.uint64), found[2, 1].astype(np.uint64)
        for channel in range(channels):
            image = images[at[one], channel].copy()
            target = images[at[one], channel]
            for plane in range(depth):
                a, b, front = found[0, 0, plane], found[0, 1, plane], fronts[plane]
                for line in range(height):
                    c, d, down = found[1, 0, line], found[1, 1, line], downs[line]
                    for place in range(width):
                        near = image[a, c, place] + down * (image[a, d, place] - image[a, c, place])
                        far = image[b, c, place] + down * (image[b, d, place] - image[b, c, place])
                        row[place] = near + front * (far - near)
                    for place in range(width):
                        value = row[left[place]]
                        target[plane, line, place] = value + across[place] * (row[right[place]] - value)
