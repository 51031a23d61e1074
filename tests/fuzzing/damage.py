"""Damage to the bytes of a valid file: some changed, taken out, doubled or put in."""

import numpy as np

HUGE, NEGATIVE = b"\x80" + b"\x7f" * 11, b"\xff" * 12  # as sizes in base 256
SPLICES = [b"\0", b"\xff", b"\n", b",", b'"', b"../", b"/", b"-1", b"9" * 12, HUGE, NEGATIVE]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` with one to three faults, where sizes and names stand as often as elsewhere.

    One in eight has none: a target that refuses a sound file, too, is seen however few are tried.
    """
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4) if rng.random() < 7 / 8 else 0):
        at = int(rng.integers(0, len(damaged)))
        if rng.random() < 0.5 and len(damaged) > 2048:  # a header, where the decisions are
            at = at // 512 * 512 + int(rng.choice([0, 100, 124, 148, 156, 157, 257, 345, 482]))
        splice = (
            SPLICES[rng.integers(len(SPLICES))]
            if rng.random() < 0.6
            else rng.bytes(int(rng.integers(1, 9)))
        )
        match rng.integers(5):
            case 0 | 1:
                damaged[at : at + len(splice)] = splice
            case 2:
                damaged[at:at] = splice
            case 3:
                del damaged[at : at + int(rng.integers(1, 600))]
            case 4:
                damaged[at:at] = damaged[at : at + 512]
        damaged = damaged or bytearray(b"\0")
    return bytes(damaged)
