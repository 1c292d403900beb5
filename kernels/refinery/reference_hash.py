"""The two hashes of the refinery in Python integers; both are frozen in format 1 of its state."""

from __future__ import annotations

_LOW_64 = (1 << 64) - 1
_LOW_32 = (1 << 32) - 1


def hash64(text: bytes) -> int:
    """The refinery's own hash of format 1, as an unsigned 64-bit number."""
    state = 0x9E3779B97F4A7C15 ^ (len(text) * 0xFF51AFD7ED558CCD & _LOW_64)
    for start in range(0, len(text), 8):
        word = int.from_bytes(text[start : start + 8], "little")
        state = (state ^ word) * 0x9FB21C651E98DF25 & _LOW_64
        state ^= state >> 32
    state = state * 0xD6E8FEB86659FD93 & _LOW_64
    return state ^ state >> 32


def murmur3_32(text: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, as a signed 32-bit number (A. Appleby, public domain)."""
    state = 0
    whole = len(text) & ~3
    for start in range(0, whole, 4):
        state ^= _scrambled(int.from_bytes(text[start : start + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & _LOW_32
    state ^= _scrambled(int.from_bytes(text[whole:], "little"))
    state ^= len(text)
    state = (state ^ state >> 16) * 0x85EBCA6B & _LOW_32
    state = (state ^ state >> 13) * 0xC2B2AE35 & _LOW_32
    state ^= state >> 16
    return state - (1 << 32) if state >> 31 else state


def _scrambled(word: int) -> int:
    return _rotated(word * 0xCC9E2D51 & _LOW_32, 15) * 0x1B873593 & _LOW_32


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _LOW_32


def bucket(text: bytes, n_buckets: int, name: str) -> tuple[int, float]:
    """Return the bucket of a text and its sign, under the hash "jenga" or "murmur3"."""
    if name == "murmur3":
        signed = murmur3_32(text)
        return abs(signed) % n_buckets, 1.0 if signed >= 0 else -1.0
    state = hash64(text)
    return (state & _LOW_32) * n_buckets >> 32, -1.0 if state >> 63 else 1.0
