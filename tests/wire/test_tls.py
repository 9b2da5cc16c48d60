"""The HTTPS listener over real handshakes: who can connect, renewal under open connections, bad files."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from proxy.app import certificate_of
from proxy.config.bind import ConfigError
from proxy.config.load import load
from proxy.wire.tls import Certificate
from tests.support.certificate import HOST, write_pair
from tests.support.gateway import Gateway, gateway, routes
from tests.support.raw import RawUpstream, raw_upstream, read_message, request_bytes
from tests.support.service_log import service_log

TLS = 'tls = { certificate = "cert.pem", key = "key.pem" }'


async def answer_ok(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await upstream.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def connect(
    weir: Gateway, folder: Path | None = None, name: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Trusting the certificate in this folder; without one, whatever is shown."""
    context = ssl.create_default_context(cafile=folder / "cert.pem" if folder else None)
    if folder is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    return await asyncio.open_connection(weir.host, weir.port, ssl=context, server_hostname=name)


def shown(writer: asyncio.StreamWriter) -> bytes:
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return certificate


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(request_bytes(method="GET", close=False))
    async with asyncio.timeout(60):
        head, body = await read_message(reader)
    assert body == b"ok"
    return head


async def test_callers_speak_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path)
    async with raw_upstream(answer_ok) as upstream:
        async with gateway(tmp_path, routes(upstream.url, server=TLS), monkeypatch) as weir:
            reader, writer = await connect(weir, tmp_path, HOST)
            assert (await ask(reader, writer)).startswith(b"HTTP/1.1 200 OK\r\n")
            tls = writer.get_extra_info("ssl_object")
            assert tls.version() == "TLSv1.3"
            assert tls.selected_alpn_protocol() == "http/1.1"
            writer.close()
    assert [record.status for record in weir.records()] == [200]


@pytest.mark.parametrize("name", [HOST, None])
async def test_a_renewed_certificate_is_shown_to_new_connections(
    name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to callers that name no host."""
    first = write_pair(tmp_path)
    async with raw_upstream(answer_ok) as upstream:
        async with gateway(tmp_path, routes(upstream.url, server=TLS), monkeypatch) as weir:
            old_reader, old_writer = await connect(weir, name=name or "")
            assert shown(old_writer) == first
            second = write_pair(tmp_path)
            with service_log() as said:
                await weir.app.renew_certificate()
                await weir.app.renew_certificate()
            assert len(said.named("certificate_renewed")) == 1, "the second time nothing had changed"
            reader, writer = await connect(weir, name=name or "")
            assert shown(writer) == second
            await ask(reader, writer)
            await ask(old_reader, old_writer)
            for each in (writer, old_writer):
                each.close()


async def test_a_pair_that_does_not_fit_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_pair(tmp_path)
    async with raw_upstream(answer_ok) as upstream:
        async with gateway(tmp_path, routes(upstream.url, server=TLS), monkeypatch) as weir:
            write_pair(tmp_path, key="key-of-the-new-one.pem")
            with service_log() as said:
                await weir.app.reload()
            (refused,) = said.named("certificate_refused")
            assert refused["reason"].endswith("the key is not that of the certificate")
            reader, writer = await connect(weir, name="")
            assert shown(writer) == first
            await ask(reader, writer)
            writer.close()
            (tmp_path / "key-of-the-new-one.pem").replace(tmp_path / "key.pem")
            await weir.app.reload()
            reader, writer = await connect(weir, name="")
            assert shown(writer) != first
            writer.close()


async def test_tls_below_1_2_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path)
    async with gateway(tmp_path, routes("http://127.0.0.1:9", server=TLS), monkeypatch) as weir:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(weir.host, weir.port, ssl=context)
        context.maximum_version = context.minimum_version = ssl.TLSVersion.TLSv1_2
        _, writer = await asyncio.open_connection(weir.host, weir.port, ssl=context)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        writer.close()


async def test_plain_http_gets_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path)
    async with gateway(tmp_path, routes("http://127.0.0.1:9", server=TLS), monkeypatch) as weir:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        writer.write(request_bytes(method="GET"))
        async with asyncio.timeout(60):
            assert b"HTTP/" not in await reader.read()
        writer.close()
    assert weir.records() == []


async def test_a_handshake_under_way_at_the_stop_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path)
    async with raw_upstream(answer_ok) as upstream:
        async with gateway(tmp_path, routes(upstream.url, server=TLS), monkeypatch) as weir:
            with socket.create_connection((weir.host, weir.port)) as plain:
                plain.setblocking(False)
                await asyncio.sleep(0.1)  # it is accepted, and waits for our first words
                stopping = asyncio.create_task(weir.app.stop())
                while not weir.app.public._door.last_call:  # type: ignore[union-attr]
                    await asyncio.sleep(0.01)
                context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
                reader, writer = await asyncio.open_connection(sock=plain, ssl=context, server_hostname=HOST)
                assert b"\r\nConnection: close\r\n" in await ask(reader, writer)
                writer.close()
                await stopping


BAD = {
    "no certificate": ("cert.pem", None, "cert.pem: No such file or directory"),
    "no key": ("key.pem", None, "key.pem: No such file or directory"),
    "no PEM": ("cert.pem", b"certificate", "not PEM files of their kind"),
    "the other way round": ("key.pem", b"cert", "not PEM files of their kind"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_told(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path)
    name, content, expected = BAD[case]
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("WEIR_TEST_KEY_A", "k")
    file = tmp_path / "routes.toml"
    file.write_text(routes("http://127.0.0.1:9", server=TLS))
    with pytest.raises(ConfigError) as caught:
        certificate_of(load(file))
    (problem,) = caught.value.problems
    assert problem.startswith("server.tls: ")
    assert expected in problem


def test_an_encrypted_key_is_not_asked_for_on_the_terminal(tmp_path: Path) -> None:
    write_pair(tmp_path, password=b"secret")
    with pytest.raises(ValueError, match="the key is encrypted; store it without a passphrase"):
        Certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
