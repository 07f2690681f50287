"""Ed25519 as R-SIG-01 wants it (spec/records.md §4).

The library solves the equation. What it may let pass is refused here first: S not reduced, A or R that is not a
canonical encoding, A or R of small order. OpenSSL computes R from S and A and compares bytes, which is the equation
without cofactor.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493

#: The y coordinates of the eight points of small order: of order 1, 2, 4 and, twice, 8.
_Y8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
SMALL_ORDER_Y = {1, P - 1, 0, _Y8, P - _Y8}


def good_point(encoding: bytes) -> bool:
    """Whether 32 bytes may be a point: y reduced, and not of small order. x is the library's business.

    The one other encoding that is not canonical, x = 0 with its sign bit set, has y = 1 or y = -1.
    """
    y = int.from_bytes(encoding, "little") & (2**255 - 1)
    return y < P and y not in SMALL_ORDER_Y


def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """The verdict of R-SIG-01 on one signature."""
    if len(key) != 32 or len(signature) != 64:
        return False
    if not good_point(key) or not good_point(signature[:32]):
        return False
    if int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
