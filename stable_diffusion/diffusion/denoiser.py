"""The estimate: from a net's prediction to the clean latent. The one place that knows what a net predicts."""

from collections.abc import Callable, Sequence

import mlx.core as mx

from .schedule import NoiseSchedule, deviation

Net = Callable[[mx.array, mx.array], mx.array]
Estimate = Callable[[mx.array, float | mx.array], mx.array]


def _rows(values: list[float], like: mx.array) -> mx.array:
    """One number per row, shaped to multiply `like`."""
    return mx.array(values).reshape(-1, *(1,) * (like.ndim - 1))


class Denoiser:
    """`denoise(x, sigma) -> clean` around a net trained on discrete times.

    net(x, t) gets the latents in variance-preserving scale, x / sqrt(sigma^2 + 1), and the train time of each row,
    (B,) float32; it returns its prediction, of the noise (`epsilon`), of v = sqrt(abar) noise - sqrt(1 - abar) x0
    (`v_prediction`, Salimans & Ho 2022, appendix D) or of the clean latent (`sample`). With whole_times, for all
    rows or for each, the net is told the time of the nearest trained level, and nothing else is rounded.
    """

    def __init__(self, net: Net, schedule: NoiseSchedule, whole_times: bool | Sequence[bool] = False) -> None:
        self.net = net
        self.schedule = schedule
        self.whole_times = whole_times

    def _time(self, sigma: float, whole: bool) -> float:
        return self.schedule.t(self.schedule.nearest(sigma) if whole else sigma)

    def __call__(self, x: mx.array, sigma: float | mx.array) -> mx.array:
        """x (B, ...) variance exploding, float32; sigma one level, or one per row (B,) -> clean, like x."""
        # Through float32 in both cases, so that a row is the same alone and among others.
        levels = [float(s) for s in mx.broadcast_to(mx.array(sigma), (x.shape[0],))]
        whole = [self.whole_times] * len(levels) if isinstance(self.whole_times, bool) else self.whole_times
        scale = _rows([1 / deviation(s) for s in levels], x)
        times = mx.array([self._time(*row) for row in zip(levels, whole, strict=True)])
        prediction = self.net(x * scale, times).astype(mx.float32)
        if self.schedule.prediction_type == "sample":
            return prediction
        s = _rows(levels, x)
        if self.schedule.prediction_type == "v_prediction":
            return x * scale**2 - prediction * (s * scale)
        return x - s * prediction


def masked(denoise: Estimate, original: mx.array, mask: mx.array) -> Estimate:
    """Hold the estimate to the original where mask is 0: `m * clean + (1 - m) * original`.

    original (B or 1, H, W, C) clean latents; mask (H, W, 1) in [0, 1], 1 = repaint. From a start that was noised with
    the run's own noise, Euler keeps those latents exactly on the line original + sigma n. Soft masks lose no noise, as
    they would if the noisy latents were mixed.
    """

    def estimate(x: mx.array, sigma: float | mx.array) -> mx.array:
        return mask * denoise(x, sigma) + (1 - mask) * original

    return estimate
