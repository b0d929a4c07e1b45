#!/usr/bin/env python3
"""Input that means harm, one hazard a file: `python3 hostile.py DIR` writes the files and prints what is to become of them.

The manifest is `{file: {"whole": bool, "uses": number or null}}`: whether the file can be read whole (if not, it has to be named
and the exit status is 2), and how many uses it holds; null where the documents leave that open. Every file has a key of its own
and no file shares an event id with another, so the uses of the folder are the sum of its files' uses.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]

ACCOUNT, REGION = "111122223333", "eu-west-1"
MEGABYTE = 1 << 20
BOMB = 400 * MEGABYTE
DEPTH = 10_000


class Hazard(NamedTuple):
    file: str
    whole: bool
    uses: int | None
    content: Callable[[str], Iterator[bytes]]


HAZARDS: list[Hazard] = []


def hazard(file: str, *, whole: bool, uses: int | None) -> Callable[[Callable[[str], Iterator[bytes]]], Any]:
    """Enters a generator of bytes into the list; it is told its file's name, the seed of the file's ids."""

    def enter(content: Callable[[str], Iterator[bytes]]) -> Callable[[str], Iterator[bytes]]:
        HAZARDS.append(Hazard(file, whole, uses, content))
        return content

    return enter


# ---------------------------------------------------------------------------------------------------------------------------
# Good records, to show that what stands beside the hazard is still read
# ---------------------------------------------------------------------------------------------------------------------------


def made_up_id(*seed: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, " ".join(map(str, seed))))


def key_of(file: str) -> str:
    return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{made_up_id('key', file)}"


def good(file: str, number: int = 0, **changed: Any) -> Record:
    """A plain Decrypt: one use of the file's key."""
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/app/session",
            "sessionContext": {"sessionIssuer": {"type": "Role", "arn": f"arn:aws:iam::{ACCOUNT}:role/app"}},
        },
        "eventTime": f"2026-10-01T00:{number // 60:02}:{number % 60:02}Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": "Decrypt",
        "awsRegion": REGION,
        "sourceIPAddress": "192.0.2.10",
        "userAgent": "aws-sdk-java",
        "requestParameters": {"encryptionContext": {"purpose": "test"}},
        "responseElements": None,
        "eventID": made_up_id("event", file, number),
        "readOnly": True,
        "resources": [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key_of(file)}],
        "eventType": "AwsApiCall",
        "recipientAccountId": ACCOUNT,
    } | changed


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def line(value: Any) -> bytes:
    return raw(value) + b"\n"


def trail(*records: Record) -> bytes:
    return raw({"Records": records})


def with_raw_agent(record: Record, agent: bytes) -> bytes:
    """The record's line with these very bytes as its user agent, which no JSON encoder would write."""
    return line(record | {"userAgent": "HERE"}).replace(b"HERE", agent)


# ---------------------------------------------------------------------------------------------------------------------------
# Compression
# ---------------------------------------------------------------------------------------------------------------------------


def cut_gzip(before: bytes, after: bytes) -> Iterator[bytes]:
    """A gzip that ends amid `after`; the flush makes sure that `before` can be had whole from what is left."""
    packer = zlib.compressobj(wbits=31)
    yield packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    tail = packer.compress(after) + packer.flush()
    yield tail[: len(tail) // 2]


def packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Gzip as a stream: what is packed is never whole in memory."""
    packer = zlib.compressobj(9, wbits=31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


@hazard("truncated-lines.json.gz", whole=False, uses=5)
def truncated_lines(file: str) -> Iterator[bytes]:
    yield from cut_gzip(b"".join(line(good(file, n)) for n in range(5)), line(good(file, 5)))


@hazard("truncated-trail.json.gz", whole=False, uses=5)
def truncated_trail(file: str) -> Iterator[bytes]:
    content, last = trail(*(good(file, n) for n in range(6))), len(raw(good(file, 5)))
    yield from cut_gzip(content[: -last - 2], content[-last - 2 :])


@hazard("corrupt-checksum.json.gz", whole=False, uses=3)
def corrupt_checksum(file: str) -> Iterator[bytes]:
    content = gzip.compress(b"".join(line(good(file, n)) for n in range(3)), mtime=0)
    yield content[:-8] + bytes(byte ^ 0xFF for byte in content[-8:-4]) + content[-4:]


@hazard("bomb-of-zeros.json.gz", whole=False, uses=0)
def bomb_of_zeros(file: str) -> Iterator[bytes]:
    yield from packed(bytes(MEGABYTE) for _ in range(BOMB // MEGABYTE))


@hazard("bomb-in-a-string.json.gz", whole=False, uses=1)
def bomb_in_a_string(file: str) -> Iterator[bytes]:
    def content() -> Iterator[bytes]:
        head, tail = with_raw_agent(good(file, 1), b"\0").split(b"\0")
        yield line(good(file, 0)) + head
        yield from (b"A" * MEGABYTE for _ in range(BOMB // MEGABYTE))
        yield tail

    yield from packed(content())


# ---------------------------------------------------------------------------------------------------------------------------
# Junk and emptiness
# ---------------------------------------------------------------------------------------------------------------------------


@hazard("junk.bin", whole=True, uses=0)
def junk(file: str) -> Iterator[bytes]:
    # Seeded, so that it is the same junk on every machine; the first byte keeps it from looking like gzip.
    yield b"\x00" + random.Random(file).randbytes(MEGABYTE)


@hazard("junk-line.ndjson", whole=True, uses=1)
def junk_line(file: str) -> Iterator[bytes]:
    yield from (b"junk" * (MEGABYTE // 4) for _ in range(20))
    yield b"\n" + line(good(file))


@hazard("empty.json", whole=True, uses=0)
def empty(file: str) -> Iterator[bytes]:
    yield b""


@hazard("empty.json.gz", whole=True, uses=0)
def empty_by_name_only(file: str) -> Iterator[bytes]:
    yield b""


@hazard("packed-nothing.json.gz", whole=True, uses=0)
def packed_nothing(file: str) -> Iterator[bytes]:
    yield gzip.compress(b"", mtime=0)


# ---------------------------------------------------------------------------------------------------------------------------
# Size and depth
# ---------------------------------------------------------------------------------------------------------------------------


@hazard("padded.ndjson", whole=True, uses=1)
def padded(file: str) -> Iterator[bytes]:
    yield line(good(file, userAgent="x" * MEGABYTE))


@hazard("deep-record.ndjson", whole=True, uses=None)
def deep_record(file: str) -> Iterator[bytes]:
    """The neighbours are two uses; whether the deep one is a third depends on whether what it hides must be looked at."""
    deep = b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    yield line(good(file, 0))
    yield line(good(file, 1, requestParameters="HERE")).replace(b'"HERE"', deep)
    yield line(good(file, 2))


@hazard("deep-object.ndjson", whole=True, uses=2)
def deep_object(file: str) -> Iterator[bytes]:
    yield line(good(file, 0)) + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"\n" + line(good(file, 1))


@hazard("deep-array.ndjson", whole=True, uses=2)
def deep_array(file: str) -> Iterator[bytes]:
    yield line(good(file, 0)) + b"[" * DEPTH + b"]" * DEPTH + b"\n" + line(good(file, 1))


# ---------------------------------------------------------------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------------------------------------------------------------


@hazard("lone-surrogates.ndjson", whole=True, uses=4)
def lone_surrogates(file: str) -> Iterator[bytes]:
    """What an outsider chose must not hide a use: CloudTrail cuts long texts, at times amid a pair."""
    half = "\ud83d"
    role = {"sessionIssuer": {"arn": f"arn:aws:iam::{ACCOUNT}:role/app"}}
    session = {"type": "AssumedRole", "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/app/{half}", "sessionContext": role}
    yield line(good(file, 0, userIdentity=session))
    yield line(good(file, 1, userAgent=f"agent {half}"))
    yield line(good(file, 2, requestParameters={"encryptionContext": {"purpose": half}}))
    yield line(good(file, 3, requestParameters={"encryptionContext": {half: "\udc00 the wrong half first"}}))


@hazard("invalid-utf8.ndjson", whole=True, uses=None)
def invalid_utf8(file: str) -> Iterator[bytes]:
    """The neighbours are two uses; the middle one is a third for a reader that forgives a byte."""
    yield line(good(file, 0)) + with_raw_agent(good(file, 1), b"\xff\xfe\xc3(") + line(good(file, 2))


@hazard("byte-order-mark.json", whole=True, uses=2)
def byte_order_mark(file: str) -> Iterator[bytes]:
    yield b"\xef\xbb\xbf" + trail(good(file, 0), good(file, 1))


@hazard("carriage-returns.ndjson", whole=True, uses=3)
def carriage_returns(file: str) -> Iterator[bytes]:
    yield from (raw(good(file, n)) + b"\r\n" for n in range(3))


@hazard("control-characters.ndjson", whole=True, uses=1)
def control_characters(file: str) -> Iterator[bytes]:
    nasty = "\u0000\u001b[2J\r\n</script><img src=x onerror=alert(1)>=cmd|' /C calc'!A0\u202e\""
    session = {"type": "AssumedRole", "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/app/{nasty}"}
    context = {"encryptionContext": {nasty: nasty}}
    yield line(good(file, userIdentity=session, userAgent=nasty, sourceIPAddress=nasty, requestParameters=context))


# ---------------------------------------------------------------------------------------------------------------------------
# One bad among good ones
# ---------------------------------------------------------------------------------------------------------------------------


@hazard("bad-line.ndjson", whole=True, uses=2)
def bad_line(file: str) -> Iterator[bytes]:
    yield line(good(file, 0)) + b"{not json at all}\n" + line(good(file, 1))


@hazard("cut-line.ndjson", whole=True, uses=2)
def cut_line(file: str) -> Iterator[bytes]:
    middle = raw(good(file, 1))
    yield line(good(file, 0)) + middle[: len(middle) // 2] + b"\n" + line(good(file, 2))


@hazard("cut-trail.json", whole=False, uses=2)
def cut_trail(file: str) -> Iterator[bytes]:
    yield trail(good(file, 0), good(file, 1), good(file, 2))[:-200]


@hazard("not-objects.json", whole=True, uses=2)
def not_objects(file: str) -> Iterator[bytes]:
    yield raw({"Records": [good(file, 0), 7, None, "text", [], {}, good(file, 1)]})


@hazard("wrong-types.json", whole=True, uses=2)
def wrong_types(file: str) -> Iterator[bytes]:
    """Without a time the middle one belongs in quarantine, whatever else is wrong with it."""
    bad = good(file, 1, eventTime=1_790_000_000, userIdentity="root", resources={"ARN": key_of(file)})
    yield trail(good(file, 0), bad, good(file, 2))


@hazard("wrong-type-of-identity.json", whole=True, uses=2)
def wrong_type_of_identity(file: str) -> Iterator[bytes]:
    """The middle one is set aside for a person to look at; the oracle alone would take it for a use by nobody known."""
    yield trail(good(file, 0), good(file, 1, userIdentity="root"), good(file, 2))


@hazard("wrong-type-of-resources.json", whole=True, uses=2)
def wrong_type_of_resources(file: str) -> Iterator[bytes]:
    """The middle one is set aside likewise, although its request names the key."""
    bad = good(file, 1, resources={"ARN": key_of(file)}, requestParameters={"keyId": key_of(file)})
    yield trail(good(file, 0), bad, good(file, 2))


@hazard("duplicate-names.ndjson", whole=True, uses=None)
def duplicate_names(file: str) -> Iterator[bytes]:
    """The neighbours are two uses; what the middle one is depends on which of its two names is heard."""
    yield line(good(file, 0))
    yield line(good(file, 1)).replace(b'"eventName": "Decrypt"', b'"eventName": "ListKeys", "eventName": "Decrypt"')
    yield line(good(file, 2))


# ---------------------------------------------------------------------------------------------------------------------------
# Lies
# ---------------------------------------------------------------------------------------------------------------------------


@hazard("from-next-week.ndjson", whole=True, uses=1)
def from_next_week(file: str) -> Iterator[bytes]:
    next_week = datetime.now(timezone.utc) + timedelta(days=7)
    yield line(good(file, 0)) + line(good(file, 1, eventTime=next_week.strftime("%Y-%m-%dT%H:%M:%SZ")))


@hazard("foreign-envelope.ndjson", whole=True, uses=1)
def foreign_envelope(file: str) -> Iterator[bytes]:
    """Whoever may put events on the bus from one account must not speak for another."""

    def bridged(record: Record, account: str) -> Record:
        head = {"version": "0", "id": made_up_id("bridge", record["eventID"]), "source": "aws.kms", "account": account}
        place = {"time": record["eventTime"], "region": REGION, "resources": []}
        return head | place | {"detail-type": "AWS API Call via CloudTrail", "detail": record}

    yield line(bridged(good(file, 0), ACCOUNT)) + line(bridged(good(file, 1), "999988887777"))


# ---------------------------------------------------------------------------------------------------------------------------
# Batches
# ---------------------------------------------------------------------------------------------------------------------------


def log_batch(*messages: str) -> Record:
    events = [{"id": str(number), "timestamp": 0, "message": message} for number, message in enumerate(messages)]
    return {"messageType": "DATA_MESSAGE", "owner": ACCOUNT, "logGroup": "g", "logStream": "s", "logEvents": events}


def delimited(number: int, content: bytes) -> bytes:
    """A protobuf field with a length, which takes three bytes here whatever it is."""
    length = len(content)
    return bytes([number << 3 | 2, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + content


def sealed(content: bytes) -> bytes:
    return b"\xf3\x89\x9a\xc2" + content + hashlib.md5(content).digest()


def user_record(data: bytes) -> bytes:
    return delimited(3, b"\x08\x00" + delimited(3, data))


@hazard("batch-with-junk.ndjson", whole=True, uses=2)
def batch_with_junk(file: str) -> Iterator[bytes]:
    cut = json.dumps(good(file, 2))[:-100]
    yield line(log_batch(json.dumps(good(file, 0)), "an alarm", "", cut, "7", json.dumps(good(file, 1))))


@hazard("aggregate-in-an-aggregate.bin", whole=True, uses=2)
def aggregate_in_an_aggregate(file: str) -> Iterator[bytes]:
    nested = sealed(user_record(raw(good(file, 2))))
    yield sealed(user_record(raw(good(file, 0))) + user_record(nested) + user_record(raw(good(file, 1))))


@hazard("aggregate-with-a-wrong-checksum.bin", whole=True, uses=0)
def aggregate_with_a_wrong_checksum(file: str) -> Iterator[bytes]:
    content = sealed(user_record(raw(good(file, 0))))
    yield content[:-1] + bytes([content[-1] ^ 1])


@hazard("aggregate-that-breaks-off-inside.bin", whole=True, uses=1)
def aggregate_that_breaks_off_inside(file: str) -> Iterator[bytes]:
    yield sealed(user_record(raw(good(file, 0))) + user_record(raw(good(file, 1)))[:-50])


@hazard("aggregate-of-nothings.bin", whole=True, uses=None)
def aggregate_of_nothings(file: str) -> Iterator[bytes]:
    """Two bytes a user record: a struct for each would fill the memory."""
    yield sealed(user_record(raw(good(file, 0))) + b"\x1a\x00" * (5 * MEGABYTE))


@hazard("aggregate-of-bombs.bin", whole=True, uses=1)
def aggregate_of_bombs(file: str) -> Iterator[bytes]:
    bomb = gzip.compress(b" " * (17 * MEGABYTE), mtime=0)
    yield sealed(user_record(raw(good(file, 0))) + user_record(bomb) * 20)


@hazard("announcements.ndjson", whole=True, uses=1)
def announcements(file: str) -> Iterator[bytes]:
    """Objects that a replay does not fetch, under names that are chosen to harm whoever prints or opens them."""

    def created(bucket: str, key: str) -> Record:
        s3 = {"bucket": {"name": bucket}, "object": {"key": key, "size": 1}}
        return {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}

    yield line({"Records": [created("trails", "../../etc/passwd"), created("trails", "%1b[2J%0d%0a%00"), good(file)]})
    yield line({"s3Bucket": "trails", "s3ObjectKey": ["AWSLogs/a.json.gz"]})


# ---------------------------------------------------------------------------------------------------------------------------
# Writing them
# ---------------------------------------------------------------------------------------------------------------------------


def write(folder: Path, entry: Hazard) -> None:
    with open(folder / entry.file, "wb") as stream:
        for piece in entry.content(entry.file):
            stream.write(piece)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: hostile.py DIR", file=sys.stderr)
        return 1
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for entry in HAZARDS:
        write(folder, entry)
    print(json.dumps({entry.file: {"whole": entry.whole, "uses": entry.uses} for entry in HAZARDS}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
