"""Kernels for NVIDIA GPUs, of what MLX has no fast operation for.

They have no counterpart for Metal: what could not be run is not here, and MLX's own serve there.
"""

from functools import cache
from typing import Any

import mlx.core as mx

THREADS, COLUMNS = 256, 64  # of a block that joins, and of one that runs down columns
FEW, ROWS, PIECES = 4096, (16, 64), 4096  # up to so many rows a column is cut into pieces of 16, else of 64 or more

# Of each column of x (B, N, C), in P pieces of equal length: the mean, and the sum of the squares around it. The first
# number of a piece stands for its mean on the way, so that no digits are lost.
MOMENTS = """
    long B = x_shape[0], N = x_shape[1], C = x_shape[2], P = gridDim.y;
    long c = blockIdx.x * blockDim.x + threadIdx.x, p = blockIdx.y, b = blockIdx.z;
    if (c >= C) return;
    long rows = (N + P - 1) / P, first = p * rows, last = min(first + rows, N);
    float about = static_cast<float>(x[(b * N + first) * C + c]), sum = 0, squares = 0;
    #pragma unroll 8
    for (long n = first; n < last; n++) {
        float d = static_cast<float>(x[(b * N + n) * C + c]) - about;
        sum += d;
        squares += d * d;
    }
    float count = last - first;
    moments[((2 * p) * B + b) * C + c] = about + sum / count;
    moments[((2 * p + 1) * B + b) * C + c] = squares - sum * sum / count;
"""

# The moments of a group's pieces joined (Chan et al. 1983), and what that makes of each of its columns.
LINES = """
    __shared__ float shared[THREADS];
    long B = x_shape[0], N = x_shape[1], C = x_shape[2], P = moments_shape[0], D = C / G;
    long g = blockIdx.x, b = blockIdx.y, t = threadIdx.x, rows = (N + P - 1) / P;
    auto total = [&](float value) {
        shared[t] = value;
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            if (t < half) shared[t] += shared[t + half];
            __syncthreads();
        }
        float all = shared[0];
        __syncthreads();
        return all;
    };
    float sum = 0, squares = 0;
    for (long i = t; i < P * D; i += THREADS) {
        long p = i / D, at = 2 * p * B * C + b * C + g * D + i % D;
        sum += min(rows, N - p * rows) * moments[at];
    }
    float mean = total(sum) / (static_cast<float>(N) * D);
    for (long i = t; i < P * D; i += THREADS) {
        long p = i / D, at = 2 * p * B * C + b * C + g * D + i % D;
        float d = moments[at] - mean;
        squares += min(rows, N - p * rows) * d * d + moments[at + B * C];
    }
    float scaled = rsqrtf(total(squares) / (static_cast<float>(N) * D) + eps[0]);
    for (long c = g * D + t; c < (g + 1) * D; c += THREADS) {
        float slope = scaled * static_cast<float>(weight[c]);
        scale[b * C + c] = slope;
        shift[b * C + c] = static_cast<float>(bias[c]) - mean * slope;
    }
"""


@cache
def _kernel(name: str, source: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Any:
    return mx.fast.cuda_kernel(name=name, input_names=inputs, output_names=outputs, source=source)


def group_lines(x: mx.array, weight: mx.array, bias: mx.array, groups: int, eps: float) -> tuple[mx.array, mx.array]:
    """What a group norm multiplies each channel of x (B, N, C) by, and what it adds then: (B, C) both, float32."""
    B, N, C = x.shape
    pieces = -(-N // (ROWS[0] if N <= FEW else max(ROWS[1], -(-N // PIECES))))
    (moments,) = _kernel("group_moments", MOMENTS, ("x",), ("moments",))(
        inputs=[x],
        grid=(-(-C // COLUMNS) * COLUMNS, pieces, B),
        threadgroup=(COLUMNS, 1, 1),
        output_shapes=[(pieces, 2, B, C)],
        output_dtypes=[mx.float32],
    )
    inputs = ("moments", "x", "weight", "bias", "eps")
    scale, shift = _kernel("group_lines", LINES, inputs, ("scale", "shift"))(
        inputs=[moments, x, weight, bias, mx.array([eps])],
        template=[("G", groups), ("THREADS", THREADS)],
        grid=(groups * THREADS, B, 1),
        threadgroup=(THREADS, 1, 1),
        output_shapes=[(B, C), (B, C)],
        output_dtypes=[mx.float32, mx.float32],
    )
    return scale, shift
