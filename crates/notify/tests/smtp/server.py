"""A real SMTP server on loopback, for tests: server.py MODE FOLDER, MODE being plain, starttls, tls, or bare (no STARTTLS, but asks for a login).

Writes the certificate that it has to FOLDER/root.pem. Prints one JSON object a line: first its port, then what it takes. The part of the recipient before the
@ says what it does: refuse (550), later (451), anything else (250). The one login that it knows is user, password. It ends with its standard input.
"""

import asyncio
import datetime
import ipaddress
import json
import logging
import ssl
import sys
import warnings
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


# What clients do wrong is what the tests are about.
logging.disable()
warnings.simplefilter("ignore")


def say(**what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        replies = {"refuse": "550 5.1.1 no such person", "later": "451 4.7.1 come back later"}
        reply = replies.get(address.partition("@")[0])
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 OK"

    async def handle_DATA(self, server, session, envelope):
        say(
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            mail=envelope.content.decode("ascii"),
            encrypted=session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None,
            user=session.auth_data.login.decode() if session.authenticated else None,
        )
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    success = data.login == b"user" and data.password == b"password"
    return AuthResult(success=success, handled=False, auth_data=data)


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "root.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "root.pem", folder / "key.pem")
    return context


async def main(mode, folder):
    context = certificate(folder)
    offered = context if mode == "starttls" else None

    def session():
        return SMTP(
            Handler(),
            hostname="localhost",
            tls_context=offered,
            require_starttls=offered is not None,
            authenticator=authenticate,
            auth_require_tls=offered is not None,
            auth_required=mode == "bare",
        )

    loop = asyncio.get_running_loop()
    wrapped = context if mode == "tls" else None
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=wrapped)
    say(port=server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
