"""Work spread over streams: the same numbers, whatever the number of streams and pieces."""

import ctypes
import threading

import mlx.core as mx
import pytest

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.compute.streams import (
    _Here,
    by_rows,
    cores,
    cut,
    done,
    each,
    even,
    joined,
    lanes,
    shared_out,
    spread,
)


@pytest.fixture(params=[1, 2, 5])
def streams(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("stable_diffusion.compute.streams.cores", lambda: request.param)
    monkeypatch.setattr("stable_diffusion.compute.streams._here", _Here())
    return int(request.param)


def test_there_is_a_stream_for_each_core(streams: int) -> None:
    assert len({*map(str, lanes())}) == streams


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_works_on_every_piece_in_order(streams: int, count: int) -> None:
    pieces = [mx.arange(4) + 10 * k for k in range(count)]
    found = each(lambda piece, k: piece * 2 + k, pieces, range(count))
    assert [y.tolist() for y in found] == [[2 * (v + 10 * k) + k for v in range(4)] for k in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_pieces_share_the_streams_and_leave_them_as_they_were(streams: int, count: int) -> None:
    seen: list[tuple[mx.Stream, ...]] = []

    def work(piece: mx.array) -> mx.array:
        assert mx.default_stream(mx.cpu) == lanes()[0]
        seen.append(lanes())
        return piece

    everything = lanes()
    each(work, [mx.zeros(1)] * count)
    assert lanes() == everything
    if count <= streams:
        assert sorted(str(stream) for mine in seen for stream in mine) == sorted(map(str, everything))
    else:
        assert all(len(mine) == 1 for mine in seen)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(("numbers", "at_once"), [(1, 100), (2**15, 2**20), (2**15, 2**15), (1, 1)])
def test_rows_are_worked_on_in_pieces_and_put_together(
    streams: int, long: bool, numbers: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stable_diffusion.compute.streams.AT_ONCE", at_once)
    x = mx.arange(2 * 7 * numbers).reshape(2, 7, numbers)
    most: list[int] = []

    def work(a: mx.array, b: mx.array) -> mx.array:
        most.append(a.size)
        return a + 2 * b

    assert mx.array_equal(by_rows(work, x, x, long=long), 3 * x)
    assert max(most) <= max(at_once, 2 * numbers) or not long


def test_much_is_shared_out_among_all_streams_and_little_is_left_together(streams: int) -> None:
    assert len(shared_out(mx.zeros((1, 100, 2**10)))) == streams
    assert len(shared_out(mx.zeros((1, 100, 2)))) == 1


@pytest.mark.parametrize("count", range(1, 20))
def test_many_pieces_are_as_many_for_each_stream(streams: int, count: int) -> None:
    assert count <= even(count) < count + streams
    assert even(count) % streams == 0 if count > streams else even(count) == count


def test_a_thread_has_streams_of_its_own(streams: int) -> None:
    def work() -> None:
        found.append(each(lambda piece: piece + 1, [mx.zeros(2)] * 3))
        mx.eval(found)

    found: list[list[mx.array]] = []
    mine = lanes()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [y.tolist() for y in found[0]] == [[1, 1]] * 3 and lanes() == mine


@pytest.mark.parametrize(("length", "size"), [(1, 4), (4, 4), (9, 4), (9, 1)])
def test_what_is_cut_is_all_there(length: int, size: int) -> None:
    x = mx.arange(2 * length).reshape(2, length)
    parts = cut(x, size)
    assert max(part.shape[1] for part in parts) <= size and mx.array_equal(mx.concatenate(parts, axis=1), x)


def test_what_is_spread_is_calculated_when_it_is_called(streams: int) -> None:
    def net(x: mx.array, t: mx.array) -> mx.array:
        return joined(each(lambda piece: piece * t, cut(x, 2)), axis=1)

    x = mx.random.normal((3, 5))
    assert mx.array_equal(spread(net)(x, t=mx.array(2.0)), 2 * x)


def test_the_blas_has_its_threads_back(streams: int) -> None:
    everything = ctypes.CDLL(None)
    if not hasattr(everything, "openblas_get_num_threads"):
        pytest.skip("no OpenBLAS here")
    before = everything.openblas_get_num_threads()
    inside = []

    def make() -> mx.array:
        inside.append(everything.openblas_get_num_threads())
        return mx.zeros(1)

    done(make)
    with pytest.raises(ZeroDivisionError):
        done(lambda: mx.zeros(1 // 0))
    assert inside == [1] and everything.openblas_get_num_threads() == before


def test_omp_num_threads_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    there = cores.__wrapped__()
    for wanted, most in (("1", 1), ("100000", there), ("many", there), ("0", there)):
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
        assert cores.__wrapped__() == most


def test_a_run_is_the_same_on_any_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    sd = StableDiffusion("demo", float16=False)
    asked = Settings(prompt="a house in the hills, photo", seed=3, n_images=3, steps=1)
    pictures = []
    for streams in (1, 2, 5):
        monkeypatch.setattr("stable_diffusion.compute.streams.cores", lambda streams=streams: streams)
        monkeypatch.setattr("stable_diffusion.compute.streams._here", _Here())
        pictures.append(sd.txt2img(asked))
    assert all(float(mx.abs(other - pictures[0]).max()) < 1e-4 for other in pictures[1:])
