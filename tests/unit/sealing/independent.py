"""C2SP chunked encryption, written from its text (c2sp.org/chunked-encryption) on plain HKDF-Expand and AEADs.

The published vectors are made with SHA-256; the library's Cobblestone-256 is the same scheme with SHA-512 and offers no
other hash. So this reader has to pass the vectors, and the library has to agree with this reader.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

CHUNK, TAG, SALT, NONCE, COMMITMENT = 16 * 1024, 16, 24, 12, 32
AEADS: dict[str, tuple[type[AESGCM] | type[ChaCha20Poly1305], int]] = {
    "AEAD_AES_128_GCM": (AESGCM, 16),
    "AEAD_AES_256_GCM": (AESGCM, 32),
    "AEAD_CHACHA20_POLY1305": (ChaCha20Poly1305, 32),
}


class _Keys:
    def __init__(self, *, key: bytes, context: bytes, salt: bytes, aead: str, algorithm: HashAlgorithm) -> None:
        kind, size = AEADS[aead]
        if len(key) != size:
            raise ValueError("wrong key length")
        info = b"c2sp.org/chunked-encryption@v1+" + aead.encode() + b"\0" + salt + context
        derived = HKDFExpand(algorithm, size + NONCE + COMMITMENT, info).derive(key)
        self.cipher = kind(derived[:size])
        self.base_nonce = int.from_bytes(derived[size : size + NONCE], "big")
        self.commitment = derived[size + NONCE :]

    def nonce(self, chunk: int) -> bytes:
        return (self.base_nonce ^ chunk).to_bytes(NONCE, "big")


def seal(*, key: bytes, context: bytes, salt: bytes, plaintext: bytes, aead: str, algorithm: HashAlgorithm) -> bytes:
    keys = _Keys(key=key, context=context, salt=salt, aead=aead, algorithm=algorithm)
    chunks = [plaintext[at : at + CHUNK] for at in range(0, len(plaintext) + 1, CHUNK)]
    sealed = [keys.cipher.encrypt(keys.nonce(number), chunk, None) for number, chunk in enumerate(chunks)]
    return salt + keys.commitment + b"".join(sealed)


def open_(*, key: bytes, context: bytes, sealed: bytes, aead: str, algorithm: HashAlgorithm) -> bytes:
    """Raises ValueError or InvalidTag."""
    keys = _Keys(key=key, context=context, salt=sealed[:SALT], aead=aead, algorithm=algorithm)
    if sealed[SALT : SALT + COMMITMENT] != keys.commitment:
        raise InvalidTag
    sealed = sealed[SALT + COMMITMENT :]
    chunks = [sealed[at : at + CHUNK + TAG] for at in range(0, len(sealed) + 1, CHUNK + TAG)]
    return b"".join(keys.cipher.decrypt(keys.nonce(number), chunk, None) for number, chunk in enumerate(chunks))
