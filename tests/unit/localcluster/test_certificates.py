import ssl
import stat
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from meltguard.localcluster.addresses import AddressBlock
from meltguard.localcluster.asking import Door, client_tls
from meltguard.localcluster.certificates import Authority, Identity
from meltguard.localcluster.credentials import credentials_in, make_credentials


class Hello(BaseHTTPRequestHandler):
    """Answers 200 to everything."""

    def do_GET(self) -> None:
        """Answer one request."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_server_and_client_trust_each_other_and_no_others(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    server = authority.issue("server", Identity(name="server", addresses=("127.0.0.1",)))
    client = authority.issue("client", Identity(name="client"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    with HTTPServer(("127.0.0.1", 0), Hello) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        port = listening.server_port
        assert Door("127.0.0.1", port, client_tls(authority.certificate, client)).says_ok("/")
        unknown = stranger.issue("client", Identity(name="client"))
        assert not Door("127.0.0.1", port, client_tls(authority.certificate, unknown)).says_ok("/")
        assert not Door("127.0.0.1", port, client_tls(stranger.certificate, client)).says_ok("/")
        listening.shutdown()


def test_a_certificate_names_user_and_groups_as_kubernetes_reads_them(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("node", Identity(name="system:node:a", groups=("system:nodes",)))
    subject = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).subject
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["system:node:a"]
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["system:nodes"]


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    credentials = make_credentials(tmp_path, AddressBlock(70))
    assert credentials.admin == tmp_path / "kubeconfig"
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 15
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_what_was_made_is_found_again(tmp_path: Path) -> None:
    made, found = make_credentials(tmp_path, AddressBlock(70)), credentials_in(tmp_path, AddressBlock(70))
    assert made.endpoint == found.endpoint
    assert made.tokens.key.exists()
    assert made.runner == found.runner
    with pytest.raises(OSError, match="No such file"):
        credentials_in(tmp_path / "elsewhere", AddressBlock(70))
