"""Which ways beside its two streams the head-end serves: one file that a person writes, kept sealed in the settings.

It opens no socket; the head-end does. A file in TOML, every part of it optional:

    [udp]                  one datagram a message
    host = "0.0.0.0"       the system's own host where it is left out
    port = 5690            0 takes a free one, and keeps it
    [coap]                 POST to coap://HOST:PORT/ms
    port = 5683
    [[mqtt]]               a broker of somebody's, 3.1.1 or 5
    url = "mqtts://broker.example:8883"
    username = "headend"
    password_file = "/etc/meterseal/broker.password"
    root_file = "/etc/meterseal/broker-root.pem"
    [push]                 carriers of NB-IoT post to http://HOST:PORT/push/NAME
    port = 8093
    [[push.carrier]]
    name = "carrier"
    token_file = "/etc/meterseal/carrier.token"
    device = "IMEI"
    payload = "payload.APPdata"
    down_url = "https://carrier.example/devices/{device}/commands"
"""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, structs

from meterseal.errors import LocalError
from meterseal.headend import mqtt, push
from meterseal.headend.mqtt import Broker
from meterseal.headend.push import Carrier
from meterseal.hostport import family

LONGEST_FILE = 64 * 1024
MOST_BROKERS = 8

Port = Annotated[int, Meta(ge=0, le=65_535)]


class Udp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A socket for datagrams; `host` empty for the system's own, port 0 for a free one."""

    port: Port = 0
    host: str = ""


class Coap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A CoAP socket, as `Udp`."""

    port: Port = 5683
    host: str = ""


class Push(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An HTTP port, and who may push to it."""

    carrier: Annotated[tuple[Carrier, ...], Meta(min_length=1, max_length=MOST_BROKERS)]
    port: Port = 0
    host: str = ""


class Transports(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them; nothing is served that is not named."""

    udp: Udp | None = None
    coap: Coap | None = None
    push: Push | None = None
    mqtt: Annotated[tuple[Broker, ...], Meta(max_length=MOST_BROKERS)] = ()


def read(path: Path) -> Transports:
    """The file's transports, each checked, with what its `…_file` entries hold taken in.

    Raises LocalError `app.transports`, `app.unusable` or `headend.mqtt`.
    """
    try:
        found = tomllib.loads(_text(path))
        for broker in found.get("mqtt", ()):
            _take_in(broker, "password", path.parent)
            _take_in(broker, "root", path.parent)
        for carrier in found.get("push", {}).get("carrier", ()):
            _take_in(carrier, "token", path.parent)
            _take_in(carrier, "down_token", path.parent)
        transports = msgspec.convert(found, Transports)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, AttributeError, TypeError) as error:
        # msgspec and tomllib name the place and never the value.
        raise LocalError(
            "app.transports", f"{path} does not say which transports to serve: {error}. Correct the file."
        ) from None
    for broker in transports.mqtt:
        mqtt.checked(broker)
    carriers = transports.push.carrier if transports.push else ()
    for carrier in carriers:
        push.checked(carrier)
    _once(path, "carriers have the name", [carrier.name for carrier in carriers])
    # A broker ends a client's connection when another comes with the same id, and both would come again for ever.
    _once(
        path,
        "brokers are",
        [f"{one.address} with the client id {one.client or 'of a new start'}" for one in transports.mqtt],
    )
    return transports


def _once(path: Path, what: str, names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise LocalError("app.transports", f"In {path} two {what} {twice}; name each once.")


def settled(transports: Transports, host: str) -> Transports:
    """The same with every port chosen, so that it stays when the head-end is started again; LocalError `app.host`."""
    chosen: dict[str, Udp | Coap | Push] = {}
    kinds = (("udp", socket.SOCK_DGRAM), ("coap", socket.SOCK_DGRAM), ("push", socket.SOCK_STREAM))
    for name, kind in kinds:
        one: Udp | Coap | Push | None = getattr(transports, name)
        if one is not None and not one.port:
            chosen[name] = structs.replace(one, port=_free(one.host or host, kind))
    return structs.replace(transports, **chosen)


def _free(host: str, kind: socket.SocketKind) -> int:
    with socket.socket(family(host), kind) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise LocalError(
                "app.host", f"{host} is no address of this machine ({error.strerror}); give another host."
            ) from None
        return int(probe.getsockname()[1])


def _take_in(entry: dict[str, Any], name: str, beside: Path) -> None:
    place = entry.pop(f"{name}_file", None)
    if place is not None:
        entry[name] = _text(beside / str(place)).strip()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            found = file.read(LONGEST_FILE + 1)
        if len(found) > LONGEST_FILE:
            raise LocalError(
                "app.transports",
                f"{path} is longer than {LONGEST_FILE // 1024} KiB; keep only what is needed.",
            )
        return found.decode()
    except OSError as error:
        raise LocalError("app.unusable", f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise LocalError("app.transports", f"{path} is no text; give a file in UTF-8.") from None
