"""Throwaway keys of one run: who the callers are, and whom the proxies trust.

One RSA key signs the callers' token and is published at the fake upstream's /jwks.json; one certificate for
127.0.0.1 is the fake upstream's. Made in the run's own folder, gone with it.
"""

import datetime
import ipaddress
import json
import time
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "gateway"
ISSUER = "http://127.0.0.1/bench"  # only its keys' address is ever asked
_KID = "bench"


def make(folder: Path) -> str:
    """Write jwks.json, cert.pem and key.pem; the token that a caller sends."""
    signer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = RSAAlgorithm.to_jwk(signer.public_key(), as_dict=True)
    (folder / "jwks.json").write_text(json.dumps({"keys": [public | {"kid": _KID, "alg": "RS256", "use": "sig"}]}))
    _certify(folder)
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "caller", "iat": now, "nbf": now - 60, "exp": now + 24 * 3600}
    return jwt.encode(claims, signer, algorithm="RS256", headers={"kid": _KID})


def _certify(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
