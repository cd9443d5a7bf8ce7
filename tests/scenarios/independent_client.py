"""A meter's module written from the link's description alone.

Nothing of meterseal is imported: SM2, SM3 and SM4 come from gmalg, and HMAC, HKDF, CBC, frames, BCD and the
checksum are spelled out here, so that a mistake shared by both ends of the project's own code would show.
"""

import secrets
import socket
import ssl
import struct
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

import gmalg
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

LOCAL = timezone(timedelta(hours=8))  # the clocks inside meter frames
SIGNER_ID = b"1234567812345678"
SM2_WITH_SM3 = "1.2.156.10197.1.501"
USAGES = "2.25.285079958047663026645145762408991924743"
SM2_KEY = bytes.fromhex("301306072a8648ce3d020106082a811ccf5501822d034200")  # algorithm, then BIT STRING
CURVE = gmalg.sm2._ecdlp  # arithmetic on the curve
HELLO, PLATFORM, DEVICE, SESSION, RETRY = range(1, 6)  # handshake messages
PING, ACK, TIME, REKEY, REJECT, KEY, EVIDENCE = 0, 1, 2, 3, 5, 6, 7  # kinds of control records
DOWN, WANT_ACK, CONTROL, PLAIN, GUARDED = 0x01, 0x02, 0x08, 0x10, 0x20  # flags of records
CUBIC_METRES, KILOWATT_HOURS = 0x2C, 0x05  # unit codes, both with two decimals


Numbered = tuple[int, bytes]  # a record and its counter


class Command(NamedTuple):
    """A guarded command as it was opened, before it is judged; `frame` is in clear again."""

    number: int
    not_after: int
    authorisation: bytes
    frame: bytes


def need(condition: bool, what: str) -> None:
    """What comes from the platform must be what the link's description allows."""
    if not condition:
        raise ValueError(what)


def sm3(data: bytes) -> bytes:
    digest = gmalg.SM3()
    digest.update(data)
    return bytes(digest.value())


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    key = (sm3(key) if len(key) > 64 else key).ljust(64, b"\0")
    inner = sm3(bytes(b ^ 0x36 for b in key) + data)
    return sm3(bytes(b ^ 0x5C for b in key) + inner)


def expand(secret: bytes, label: str, context: bytes, size: int) -> bytes:
    """HKDF-Expand-SM3 with the link's labels; nothing longer than one block is asked for."""
    name = b"ms1 " + label.encode()
    return hmac_sm3(secret, struct.pack(">HB", size, len(name)) + name + context + b"\1")[:size]


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def sm4_block(key: bytes, block: bytes) -> bytes:
    return bytes(gmalg.SM4(key).encrypt(block))


def div(key: bytes, factor: bytes) -> bytes:
    """One step of the key tree: SM4 over an 8-byte factor and its complement."""
    return sm4_block(key, factor + bytes(b ^ 0xFF for b in factor))


def sm2_sign(secret: bytes, message: bytes) -> bytes:
    r, s = gmalg.SM2(secret, SIGNER_ID).sign(message)
    return bytes(r).rjust(32, b"\0") + bytes(s).rjust(32, b"\0")


def sm2_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    checker = gmalg.SM2(uid=SIGNER_ID, pk=public)
    return bool(len(signature) == 64 and checker.verify(message, signature[:32], signature[32:]))


def sm2_shared(secret: bytes, public: bytes) -> bytes:
    """x-coordinate of the ECDH point; the cofactor is 1, so a point on the curve has the right order."""
    point = int.from_bytes(public[1:33]), int.from_bytes(public[33:])
    need(len(public) == 65 and public[0] == 4 and max(point) < CURVE.fp.p, "form of a point")
    need(CURVE.ec.isvalid(point), "point off the curve")
    return int(CURVE.ec.mul(int.from_bytes(secret), point)[0]).to_bytes(32)


def public_point(certificate: x509.Certificate) -> bytes:
    """`cryptography` reads the structure, but knows neither the curve nor the signature."""
    _, found, rest = certificate.tbs_certificate_bytes.partition(SM2_KEY)
    need(bool(found) and rest[:1] == b"\x04", "no SM2 key in a certificate")
    return rest[:65]


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    algorithm = certificate.signature_algorithm_oid.dotted_string
    need(certificate.issuer == issuer.subject and algorithm == SM2_WITH_SM3, "issuer or algorithm")
    r, s = decode_dss_signature(certificate.signature)
    signed, signature = certificate.tbs_certificate_bytes, r.to_bytes(32) + s.to_bytes(32)
    need(sm2_verify(public_point(issuer), signed, signature), "a certificate's signature")


def check_chain(chain: list[bytes], device: "Device") -> x509.Certificate:
    """The platform's certificate, once its chain of leaf and CA holds under the root."""
    need(len(chain) == 2, "a chain is leaf and CA")
    leaf, ca = (x509.load_der_x509_certificate(der) for der in chain)
    issued_by(leaf, ca)
    issued_by(ca, device.root)
    for certificate, is_ca in ((leaf, False), (ca, True)):
        known = certificate.extensions
        basic = known.get_extension_for_class(x509.BasicConstraints).value
        need(basic.ca is is_ca and basic.path_length == (0 if is_ca else None), "basic constraints")
        usage = known.get_extension_for_class(x509.KeyUsage).value
        need(usage.key_cert_sign is is_ca and usage.digital_signature is not is_ca, "key usage")
        extended = known.get_extension_for_class(x509.ExtendedKeyUsage).value
        need([oid.dotted_string for oid in extended] == [USAGES + ".1"], "extended key usage")
        need(certificate.not_valid_after_utc >= device.bound, "ended before the bound")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    need(uris == [f"urn:meterseal:project:{device.project_id}"], "project of the platform")
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    need(lifetime <= timedelta(days=30), "lifetime of the platform's certificate")
    return leaf


def bcd(value: int, size: int) -> bytes:
    """Packed decimal, low byte first."""
    return bytes.fromhex(f"{value:0{2 * size}d}")[::-1]


def clock(at: datetime) -> bytes:
    return bytes.fromhex(at.astimezone(LOCAL).strftime("%Y%m%d%H%M%S"))[::-1]


def interval_block(start: datetime, minutes: int, channel: int, unit: int, registers: list[int]) -> bytes:
    """What follows the identifier (and SER): reading k is the register at start + k x interval."""
    head = clock(start) + bytes([minutes, channel, unit, 0, len(registers)])
    return head + b"".join(bcd(register, 4) for register in registers)


class Device:
    """What `device issue --lab` prints, and what a module keeps beside it."""

    def __init__(self, issued: dict[str, Any]) -> None:
        ids = ("device_id", "module_id", "k_bound", "device_key")
        self.device_id, self.module_id, bound_key, self.secret = (bytes.fromhex(issued[key]) for key in ids)
        self.key_version, self.suite = issued["key_version"], issued["suite"]
        self.project_id = issued["project_id"]
        self.root = x509.load_pem_x509_certificate(issued["root_cert"].encode())
        self.chain = [ssl.PEM_cert_to_DER_cert(pem) for pem in issued["device_chain"]]
        self.k_link, self.k_evid = div(bound_key, b"LINK0001"), div(bound_key, b"EVID0001")
        self.k_cmnd = div(bound_key, b"CMND0001")
        self.last_command = Command(0, 0, b"", b"")
        # Never falls: at first the day of personalisation.
        self.bound = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)  # noqa: TID251
        self.electric = self.device_id[:2] == b"\xd7\x00"
        self.sequence, self.head = 0, bytes(32)

    def data_field(self, identifier: int, payload: bytes) -> bytes:
        wide = identifier.to_bytes(4, "little")
        return (wide if self.electric else wide[:2] + b"\0") + payload  # CJ/T 188 has SER

    def frame(self, data: bytes, control: int = 0) -> bytes:
        """A frame around its (sealed) data field; by default a report, an unrequested answer."""
        if self.electric:
            data = bytes((b + 0x33) & 0xFF for b in data)
            head = b"\x68" + self.device_id[:1:-1] + b"\x68"
        else:
            head = b"\x68" + self.device_id[:1] + self.device_id[:0:-1]
        frame = head + bytes([control or (0x91 if self.electric else 0x81), len(data)]) + data
        return frame + bytes([sum(frame) & 0xFF, 0x16])

    def parts(self, frame: bytes) -> tuple[int, bytes]:
        """Control code and data field of one whole frame to or from this device."""
        at = 8 if self.electric else 9
        need(len(frame) == at + 4 + frame[at + 1], "length of a frame")
        data = frame[at + 2 : -2]
        if self.electric:
            data = bytes((b - 0x33) & 0xFF for b in data)
        need(self.frame(data, frame[at]) == frame, "a frame that is not this device's, or its checksum")
        return frame[at], data

    def authorisation(self, number: int, not_after: int, frame: bytes) -> bytes:
        """What the security service makes of a command under K_cmnd."""
        said = self.device_id + struct.pack(">QQ", number, not_after) + frame
        return hmac_sm3(self.k_cmnd, b"ms1 command" + said)[:16]

    def judge(self, command: Command, now: int) -> bool:
        """Whether to act; False for a repeat of the last one, which gets its stored answer. `now` is Unix ms."""
        right = self.authorisation(command.number, command.not_after, command.frame)
        need(secrets.compare_digest(right, command.authorisation), "authorisation of a command")
        if command == self.last_command:
            return False
        need(command.number > self.last_command.number, "a command's number rises")
        need(command.not_after > max(now, millis(self.bound)), "a command that came too late")
        self.last_command = command
        return True

    def extend_chain(self, channel: int, end_at: datetime, register: int) -> None:
        self.head = sm3(self.head + struct.pack(">BQq", channel, millis(end_at), register))

    def evidence(self, channel: int, end_at: datetime, register: int, unit: int) -> bytes:
        """The next statement over a register and the chain's head, with its signature or mac."""
        self.sequence += 1
        facts = struct.pack(">BQqbBHL", channel, millis(end_at), register, -2, unit, 0, self.sequence)
        statement = self.device_id + facts + self.head
        signed = b"ms1 evidence\0" + statement
        proof = sm2_sign(self.secret, signed) if self.suite == 1 else hmac_sm3(self.k_evid, signed)
        return statement + proof


def millis(at: datetime) -> int:
    return int(at.timestamp()) * 1000


class Keys:
    """Keys of one direction, in the handshake or of the traffic."""

    def __init__(self, secret: bytes, way: str, context: bytes) -> None:
        self.enc = expand(secret, way + " enc", context, 16)
        self.mac = expand(secret, way + " mac", context, 32)
        self.iv = expand(secret, way + " iv", context, 16)

    def tag(self, data: bytes) -> bytes:
        return hmac_sm3(self.mac, data)[:16]

    def seal(self, plain: bytes, nonce: bytes = b"") -> bytes:
        """SM4-CBC of the padded plain text, its IV made of counter and index of the frame."""
        cipher, last = gmalg.SM4(self.enc), sm4_block(self.iv, nonce.ljust(16, b"\0"))
        plain, out = plain + b"\x80" + bytes(-(len(plain) + 1) % 16), b""
        for at in range(0, len(plain), 16):
            last = bytes(cipher.encrypt(xor(plain[at : at + 16], last)))
            out += last
        return out

    def open(self, data: bytes, nonce: bytes = b"") -> bytes:
        need(len(data) > 0 and len(data) % 16 == 0, "length of ciphertext")
        cipher, last, out = gmalg.SM4(self.enc), sm4_block(self.iv, nonce.ljust(16, b"\0")), b""
        for at in range(0, len(data), 16):
            out += xor(cipher.decrypt(data[at : at + 16]), last)
            last = data[at : at + 16]
        plain = out.rstrip(b"\0")
        need(plain[-1:] == b"\x80" and len(out) - len(plain) < 16, "padding")
        return plain[:-1]


def message(kind: int, body: bytes) -> bytes:
    return b"MS\x01" + struct.pack(">BH", kind, len(body)) + body


def check_header(data: bytes, kind: int) -> None:
    need(data[:4] == b"MS\x01" + bytes([kind]) and u16(data, 4) == len(data) - 6, "header of a message")


def u16(data: bytes, at: int = 0) -> int:
    return int.from_bytes(data[at : at + 2])


class Link:
    """One TCP connection of one device: the handshake, then records up and control records down."""

    def __init__(self, address: str, device: Device) -> None:
        host, port = address.rsplit(":", 1)
        self.device = device
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.close = self.socket.close
        self.counter = self.last_down = 0
        self.unacknowledged: dict[int, bytes] = {}
        self.acks: list[int] = []
        self.times: dict[int, int] = {}
        self.rejects: dict[int, int] = {}
        self.commands: list[Command] = []
        self.keys: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.socket.sendall(struct.pack(">H", len(data)) + data)

    def receive(self) -> bytes:
        return self._exactly(u16(self._exactly(2)))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionError("the platform closed the connection")
            data += part
        return data

    def hello(self) -> tuple[bytes, bytes]:
        """HELLO with an empty cookie, and the secret of its ephemeral key (empty in suite 2)."""
        device = self.device
        secret, public = gmalg.SM2().generate_keypair() if device.suite == 1 else (b"", b"")
        body = bytes([device.suite]) + device.device_id + device.module_id + bytes([device.key_version])
        body += secrets.token_bytes(32) + bytes(public)
        body += hmac_sm3(device.k_link, b"ms1 hello" + body)[:16]
        return message(HELLO, body + b"\0"), bytes(secret)

    def ask(self, hello: bytes) -> bytes:
        self.send(hello)
        answer = self._heard()
        return self.ask(message(HELLO, hello[6:-1] + answer[6:])) if answer[3] == RETRY else answer

    def _heard(self) -> bytes:
        """The next message of a handshake; records of the session before may be on their way still."""
        while (answer := self.receive())[:2] == b"MR":
            pass
        return answer

    def connect(self) -> None:
        self.counter = self.last_down = 0
        self.times.clear()  # counters begin anew with each session
        hello, secret = self.hello()
        self.platform = self.ask(hello)
        need(self.ask(hello) == self.platform, "the same HELLO must get the same PLATFORM")
        device_message = self._answer(hello, secret, self.platform)
        self.send(device_message)
        self._open_session(self._heard(), sm3(hello + self.platform + device_message))

    def _answer(self, hello: bytes, secret: bytes, platform: bytes) -> bytes:
        device, certified = self.device, self.device.suite == 1
        check_header(platform, PLATFORM)
        need(platform[6] == device.suite and platform[47] == device.key_version, "suite and key version")
        self.session_id, platform_nonce = platform[7:15], platform[15:47]
        before_chain = before_signature = 48
        signature, shared = b"", bytes(32)
        if certified:
            before_chain = 48 + 65
            shared = sm2_shared(secret, platform[48:before_chain])
            at, chain = before_chain + 1, []
            for _ in range(platform[before_chain]):
                chain.append(platform[at + 2 : at + 2 + u16(platform, at)])
                at += 2 + len(chain[-1])
            before_signature, signature = at, platform[at : at + 64]
        need(len(platform) == before_signature + len(signature) + 32, "length of PLATFORM")
        th1, th2 = sm3(hello + platform[:before_chain]), sm3(hello + platform[:before_signature])
        th3 = sm3(hello + platform)
        if certified:
            leaf = check_chain(chain, device)
            key = public_point(leaf)
            need(sm2_verify(key, b"ms1 platform\0" + th2, signature), "the platform's signature")
        es = hmac_sm3(device.k_link, b"ms1 es" + hello[24:56] + platform_nonce)
        self.secret = hmac_sm3(es, shared)  # HKDF-Extract
        fin = hmac_sm3(expand(self.secret, "fin p", th1, 32), th2 + signature)
        need(secrets.compare_digest(fin, platform[-32:]), "fin of the platform")
        if certified:
            device.bound = max(device.bound, leaf.not_valid_before_utc)
        mine = sm2_sign(device.secret, b"ms1 device\0" + th3) if certified else b""
        fin = hmac_sm3(expand(self.secret, "fin d", th1, 32), th3 + mine)
        self.hs_down = Keys(self.secret, "hs down", th1)
        up = Keys(self.secret, "hs up", th1)
        own_chain = b"".join(struct.pack(">H", len(one)) + one for one in device.chain)
        plain = bytes([len(device.chain)]) + own_chain + mine + fin if certified else fin
        body = self.session_id + up.seal(plain) + bytes(16)
        sealed = message(DEVICE, body)[:-16]  # the header has its final length
        return sealed + up.tag(sealed)

    def _open_session(self, answer: bytes, th4: bytes) -> None:
        check_header(answer, SESSION)
        need(answer[6:14] == self.session_id, "session of SESSION")
        need(self.hs_down.tag(answer[:-16]) == answer[-16:], "tag of SESSION")
        opened = self.hs_down.open(answer[14:-16])
        seed, limits = opened[:32], struct.unpack(">LLQB", opened[32:])
        self.records_allowed, self.seconds_allowed, self.platform_time, self.policy = limits
        traffic = hmac_sm3(self.secret, seed)
        self.up, self.down = Keys(traffic, "up", th4), Keys(traffic, "down", th4)

    def record(self, flags: int, body: bytes) -> Numbered:
        self.counter += 1
        head = b"MR\x01" + bytes([flags]) + self.session_id + self.counter.to_bytes(6)
        record = head + struct.pack(">H", len(body)) + body
        need(len(record) <= 4080 and self.counter <= self.records_allowed, "size or number of records")
        return self.counter, record + self.up.tag(record)

    def reports(self, *frames: tuple[int, bytes]) -> Numbered:
        """A record of report frames, plain if the platform's policy says so."""
        body, plain = b"", self.policy == 0
        for index, (identifier, payload) in enumerate(frames):
            data = self.device.data_field(identifier, payload)
            nonce = (self.counter + 1).to_bytes(6) + struct.pack(">H", index)
            body += self.device.frame(data if plain else self.up.seal(data, nonce))
        return self.record(WANT_ACK | (PLAIN if plain else 0), body)

    def answer(self, control: int, data: bytes) -> Numbered:
        """A record of the frame that answers a request or command."""
        nonce = (self.counter + 1).to_bytes(6) + bytes(2)
        return self.record(WANT_ACK, self.device.frame(self.up.seal(data, nonce), control))

    def control(self, kind: int, content: bytes = b"") -> Numbered:
        body = self.up.seal(bytes([kind]) + content, (self.counter + 1).to_bytes(6))
        return self.record(CONTROL | (WANT_ACK if kind == EVIDENCE else 0), body)

    def transmit(self, numbered: Numbered) -> None:
        number, record = numbered
        if record[3] & WANT_ACK:
            self.unacknowledged[number] = record
        self.send(record)

    def take(self) -> None:
        """Receive one record down and keep what it says; an ordinary request stays without an answer."""
        record = self.receive()
        need(record[:3] == b"MR\x01" and record[4:12] == self.session_id, "head of a record")
        known = (DOWN, DOWN | CONTROL, DOWN | GUARDED)
        need(record[3] in known and u16(record, 18) == len(record) - 36, "form of a record")
        need(self.down.tag(record[:-16]) == record[-16:], "tag of a record")
        number = int.from_bytes(record[12:18])
        need(number > self.last_down, "a counter down rises")
        self.last_down = number
        if record[3] & GUARDED:
            self._guarded(record[20:-16], record[12:18])
        if not record[3] & CONTROL:
            return
        opened = self.down.open(record[20:-16], record[12:18])
        kind, content = opened[0], opened[1:]
        if kind == ACK:
            need(1 <= content[0] <= 32 and len(content) == 1 + 8 * content[0], "form of an ACK")
            for at in range(1, len(content), 8):
                first, many = int.from_bytes(content[at : at + 6]), int.from_bytes(content[at + 6 : at + 8])
                need(many > 0 < first and first + many - 1 <= self.counter, "an ACK of what was never sent")
                self.acks += range(first, first + many)
                for acknowledged in range(first, first + many):
                    self.unacknowledged.pop(acknowledged, None)
        elif kind == TIME:
            self.times[int.from_bytes(content[8:])] = int.from_bytes(content[:8])
        elif kind == REJECT:
            number = int.from_bytes(content[:6])
            self.rejects[number] = content[6]
            self.unacknowledged.pop(number, None)
        elif kind == KEY:
            need(len(content) == 1 + 16 + 3 + 16, "form of a KEY")
            self.keys.append(content)

    def _guarded(self, body: bytes, counter: bytes) -> None:
        """Rebuild the one frame in clear, with its own length and checksum; it is judged by whoever takes it."""
        number, not_after = struct.unpack(">QQ", body[:16])
        control, sealed = self.device.parts(body[32:])
        clear = self.device.frame(self.down.open(sealed, counter + bytes(2)), control)
        self.commands.append(Command(number, not_after, body[16:32], clear))

    def deliver(self, records: list[Numbered]) -> None:
        """Send records with few outstanding, and wait until each is acknowledged."""
        for record in records:
            self.transmit(record)
            while len(self.unacknowledged) > 16:
                self.take()
        while self.unacknowledged:
            need(not self.rejects, "a record was rejected")
            self.take()

    def ping(self) -> int:
        """The platform's time in answer to a PING."""
        number, record = self.control(PING)
        self.send(record)
        while number not in self.times:
            self.take()
        return self.times[number]
