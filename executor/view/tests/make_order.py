"""Prints the orders and draws that the tests of `order`, `blocks` and `draws` record, by its own ChaCha8 (RFC 8439's
block function with 8 rounds, a 64-bit counter and a 64-bit nonce of 0)."""

import struct


def block(key: bytes, counter: int) -> list[int]:
    def rotate(x: int, n: int) -> int:
        return (x << n | x >> (32 - n)) & 0xFFFFFFFF

    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key)]
    start += [counter & 0xFFFFFFFF, counter >> 32, 0, 0]
    x = list(start)
    columns = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    diagonals = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for _ in range(4):
        for a, b, c, d in columns + diagonals:
            x[a] = x[a] + x[b] & 0xFFFFFFFF
            x[d] = rotate(x[d] ^ x[a], 16)
            x[c] = x[c] + x[d] & 0xFFFFFFFF
            x[b] = rotate(x[b] ^ x[c], 12)
            x[a] = x[a] + x[b] & 0xFFFFFFFF
            x[d] = rotate(x[d] ^ x[a], 8)
            x[c] = x[c] + x[d] & 0xFFFFFFFF
            x[b] = rotate(x[b] ^ x[c], 7)
    return [(a + b) & 0xFFFFFFFF for a, b in zip(x, start)]


class Stream:
    """The random numbers of one purpose, 16 bytes of text."""

    def __init__(self, seed: int, epoch: int, purpose: bytes) -> None:
        self._key = struct.pack("<QQ", seed, epoch) + purpose
        self._words: list[int] = []
        self._counter = 0

    def next(self) -> int:
        if not self._words:
            self._words = block(self._key, self._counter)
            self._counter += 1
        low, high = self._words.pop(0), self._words.pop(0)
        return high << 32 | low

    def below(self, n: int) -> int:
        return self.next() * n >> 64

    def permute(self, values: list[int]) -> list[int]:
        for i in range(len(values) - 1, 0, -1):
            j = self.below(i + 1)
            values[i], values[j] = values[j], values[i]
        return values


def order(n: int, seed: int, epoch: int) -> list[int]:
    return Stream(seed, epoch, b"lethe.batchorder").permute(list(range(n)))


def blocks(n: int, rows: int, window: int, seed: int, epoch: int) -> list[int]:
    """Places in blocks of `rows`, `window` blocks at a time."""
    stream = Stream(seed, epoch, b"lethe.blockorder")
    numbers = stream.permute(list(range(-(-n // rows))))
    found = []
    for first in range(0, len(numbers), window):
        chosen = numbers[first : first + window]
        found += stream.permute([p for b in chosen for p in range(b * rows, min(n, (b + 1) * rows))])
    return found


def balanced(labels: list[int], seed: int, epoch: int) -> list[int]:
    """Places drawn by class."""
    stream = Stream(seed, epoch, b"lethe.batchdraws")
    classes = [[p for p, label in enumerate(labels) if label == c] for c in range(max(labels) + 1)]
    found = []
    for _ in labels:
        chosen = classes[stream.below(len(classes))]
        found.append(chosen[stream.below(len(chosen))])
    return found


def weighted(weights: list[float], seed: int, epoch: int) -> list[int]:
    """Places drawn by weight."""
    stream = Stream(seed, epoch, b"lethe.batchdraws")
    found = []
    for _ in weights:
        target, total = (stream.next() >> 11) / 2**53 * sum(weights), 0.0
        for place, weight in enumerate(weights):
            total += weight
            if total > target:
                found.append(place)
                break
    return found


if __name__ == "__main__":
    print(order(10, 7, 1))
    print(blocks(12, 3, 2, 7, 1))
    print(balanced([row % 3 for row in range(10)], 7, 1))
    print(weighted([float(row) for row in range(10)], 7, 1))
