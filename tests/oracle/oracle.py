#!/usr/bin/env python3
"""A second opinion on `dormouse replay`: CloudTrail files in, the last use of every KMS key out.

Written from the project's documents alone and sharing no line with the product, so that a mistake has to be made twice to go
unseen. Slow and obvious on purpose: whole files in memory, sets of ids, no cleverness. Python 3.11, standard library only.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

# ---------------------------------------------------------------------------------------------------------------------------
# The operations table
# ---------------------------------------------------------------------------------------------------------------------------

USES = frozenset(
    """
    Decapsulate Decrypt DeriveSharedSecret Encapsulate Encrypt GenerateDataKey GenerateDataKeyPair
    GenerateDataKeyPairWithoutPlaintext GenerateDataKeyWithoutPlaintext GenerateMac GetPublicKey ReEncrypt Sign Verify VerifyMac
    """.split()
)

CHANGES = frozenset(
    """
    CancelKeyDeletion CreateAlias CreateGrant CreateKey DeleteAlias DeleteExpiredKeyMaterial DeleteImportedKeyMaterial DeleteKey
    DisableKey DisableKeyRotation EnableKey EnableKeyRotation ImportKeyMaterial PutKeyPolicy ReplicateKey RetireGrant RevokeGrant
    RotateKey RotateKeyOnDemand ScheduleKeyDeletion SynchronizeMultiRegionKey TagResource UntagResource UpdateAlias
    UpdateKeyDescription UpdatePrimaryRegion
    """.split()
)

ALIAS_CHANGES = frozenset({"CreateAlias", "UpdateAlias", "DeleteAlias"})

# What a change makes of the key. CreateKey and ScheduleKeyDeletion depend on the record: see `state_after`.
STATE_AFTER = {
    "EnableKey": "Enabled",
    "DisableKey": "Disabled",
    "CancelKeyDeletion": "Disabled",
    "DeleteKey": "Deleted",
    "ImportKeyMaterial": "Enabled",
    "DeleteImportedKeyMaterial": "PendingImport",
    "DeleteExpiredKeyMaterial": "PendingImport",
}

# The events that KMS itself sends to EventBridge. They are no CloudTrail records and double some of them.
DIRECT_STATE = {
    "KMS CMK Rotation": None,
    "KMS CMK Deletion": "Deleted",
    "KMS Imported Key Material Expiration": "PendingImport",
}

# What passed through a VPC endpoint, and statistics: neither says that a key was used.
NO_CALL_TYPES = ("AwsVpceEvent", "AwsCloudTrailInsight")
NO_CALL_CATEGORIES = ("NetworkActivity", "Insight")

DRY_RUN = "DryRunOperationException"
WANTED = frozenset(
    stem + suffix
    for stem in ("Disabled", "KMSInvalidState", "KeyUnavailable", "Throttling")
    for suffix in ("", "Exception")
)

# Calls to the services that deliver events, by which an account can go dark. They are looked at as closely as those of KMS.
DELIVERY = {
    "cloudtrail.amazonaws.com": {"CreateTrail", "DeleteTrail", "PutEventSelectors", "StartLogging", "StopLogging", "UpdateTrail"},
    "events.amazonaws.com": {"DeleteRule", "DisableRule", "EnableRule", "PutRule", "PutTargets", "RemoveTargets"},
}

KMS = "kms.amazonaws.com"
FUTURE = timedelta(minutes=5)

# ---------------------------------------------------------------------------------------------------------------------------
# Small readers: input is hostile, so a value of the wrong type is an absent value
# ---------------------------------------------------------------------------------------------------------------------------

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(value: str) -> str:
    """JSON can spell half a surrogate pair, UTF-8 cannot: what could not be printed becomes U+FFFD."""
    return LONE_SURROGATE.sub("\ufffd", value)


def text(value: Any) -> str | None:
    """A non-empty string, or nothing."""
    return clean(value) if isinstance(value, str) and value else None


def part(value: Any, *names: str) -> Any:
    """The value at a path of names, or None as soon as a step is no object."""
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def string_map(value: Any) -> dict[str, str] | None:
    """An encryption context: strings to strings; anything else in it is dropped, and an empty one is none."""
    if not isinstance(value, dict):
        return None
    return {clean(name): clean(entry) for name, entry in value.items() if isinstance(entry, str)} or None


RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def instant(value: Any) -> datetime | None:
    """An RFC 3339 time as a whole second in UTC."""
    match = RFC3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, clock, offset = match.groups()
    try:
        return datetime.fromisoformat(f"{day}T{clock}{'+00:00' if offset in 'Zz' else offset}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def shown(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")


# ---------------------------------------------------------------------------------------------------------------------------
# Names of keys
# ---------------------------------------------------------------------------------------------------------------------------

# Letters beyond hexadecimal are allowed because documentation writes ids such as `…-EXAMPLE11111`.
KEY_ID = r"(?:[0-9A-Za-z]{8}(?:-[0-9A-Za-z]{4}){3}-[0-9A-Za-z]{12}|mrk-[0-9A-Za-z]{32})"
PLACE = r"arn:aws[a-z-]*:kms:(?P<region>[a-z]{2,}(?:-[a-z0-9]+)+):(?P<account>[0-9]{12})"
KEY_ARN = re.compile(f"{PLACE}:key/{KEY_ID}")
ALIAS_ARN = re.compile(f"{PLACE}:(?P<name>alias/.+)", re.DOTALL)
BARE_ID = re.compile(KEY_ID)
REGION = re.compile(r"[a-z]{2,}(?:-[a-z0-9]+)+")
ACCOUNT = re.compile(r"[0-9]{12}")

PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}


def partition_of(region: str) -> str:
    return next((name for prefix, name in PARTITIONS.items() if region.startswith(prefix)), "aws")


def resolve(name: Any, account: str | None, region: str | None) -> str | None:
    """The ARN that a key id or ARN stands for. An alias stands for a key that only KMS knows: nothing."""
    name = text(name)
    if name is None:
        return None
    if KEY_ARN.fullmatch(name):
        return name
    known_place = account and region and ACCOUNT.fullmatch(account) and REGION.fullmatch(region)
    if known_place and BARE_ID.fullmatch(name):
        return f"arn:{partition_of(region)}:kms:{region}:{account}:key/{name}"
    return None


def account_of(arn: str) -> str:
    return arn.split(":")[4]


def region_of(arn: str) -> str:
    return arn.split(":")[3]


# ---------------------------------------------------------------------------------------------------------------------------
# One CloudTrail record of KMS, understood
# ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    fields: dict[str, Any]
    name: str
    event_id: str
    time: datetime
    envelope_account: str | None

    @property
    def identity(self) -> str:
        """What the copies of one call in several accounts have in common."""
        return text(self.fields.get("sharedEventID")) or self.event_id

    @property
    def account(self) -> str | None:
        """The account whose trail this copy comes from."""
        return text(self.fields.get("recipientAccountId")) or self.envelope_account

    @property
    def region(self) -> str | None:
        return text(self.fields.get("awsRegion"))

    @property
    def request(self) -> Any:
        return self.fields.get("requestParameters")

    @property
    def error_code(self) -> str | None:
        return text(self.fields.get("errorCode"))

    @property
    def failed(self) -> bool:
        return self.fields.get("errorCode") not in (None, "")

    def is_foreign(self, arn: str) -> bool:
        """Whether this copy was logged outside the account that owns the key."""
        shared = text(self.fields.get("sharedEventID")) is not None
        return shared and self.account is not None and self.account != account_of(arn)


def understood(fields: dict[str, Any], envelope_account: str | None, now: datetime) -> Call | None:
    """The call that a record of KMS tells of, or None where it belongs in quarantine."""
    name, event_id, time = text(fields.get("eventName")), text(fields.get("eventID")), instant(fields.get("eventTime"))
    if name is None or event_id is None or time is None or time > now + FUTURE:
        return None
    recipient = text(fields.get("recipientAccountId"))
    if envelope_account is not None and recipient is not None and envelope_account != recipient:
        return None
    return Call(fields, name, event_id, time, envelope_account)


def kind_of(call: Call) -> str | None:
    """What a call is for each of its keys: a use, an attempt, a change or nothing."""
    if call.fields.get("eventType") in NO_CALL_TYPES or call.fields.get("eventCategory") in NO_CALL_CATEGORIES:
        return None
    if call.name in USES:
        if call.error_code == DRY_RUN:
            return None
        return "attempt" if call.failed else "use"
    return "change" if call.name in CHANGES and not call.failed else None


def listed_keys(call: Call) -> list[str]:
    """The key ARNs among the record's resources, repeats and all."""
    arns = (text(part(resource, "ARN")) for resource in items(call.fields.get("resources")))
    return [arn for arn in arns if arn is not None and KEY_ARN.fullmatch(arn)]


def named_keys(call: Call) -> list[str]:
    """The keys that the call itself names: the weaker evidence, for records without a key among their resources."""
    if call.fields.get("eventType") == "AwsServiceEvent":
        names = [part(call.fields, "serviceEventDetails", "keyId")]
    elif call.name == "ReEncrypt":
        names = [part(call.request, "sourceKeyId"), part(call.request, "destinationKeyId")]
    elif call.name in ALIAS_CHANGES:
        names = [part(call.request, "targetKeyId")]
    elif call.name == "CreateKey":
        metadata = part(call.fields, "responseElements", "keyMetadata")
        names = [part(metadata, "arn") or part(metadata, "keyId")]
    else:
        names = [part(call.request, "keyId")]
    arns = (resolve(name, call.account, call.region) for name in names)
    return [arn for arn in arns if arn is not None]


def keys_of(call: Call) -> list[str]:
    """The distinct keys of a call, in the record's order."""
    listed = listed_keys(call)
    return list(dict.fromkeys(listed + named_beside(call, listed) if listed else named_keys(call)))


def named_beside(call: Call, listed: list[str]) -> list[str]:
    """The other key of a ReEncrypt that lists a single one; of a call across accounts the other copy lists it."""
    if call.name != "ReEncrypt" or len(listed) != 1 or text(call.fields.get("sharedEventID")) is not None:
        return []
    names = (part(call.request, f"{role}KeyId") for role in ("source", "destination"))
    arns = (resolve(name, call.account, call.region) for name in names if not names_listed(name, listed[0]))
    return [arn for arn in arns if arn is not None]


def names_listed(name: Any, arn: str) -> bool:
    """Whether a request names a key that its record lists; a bare id does in whatever Region, because the ARN wins."""
    return text(name) in (arn, arn.rpartition("/")[2])


def roles_in_reencrypt(call: Call, arn: str) -> set[str]:
    """Whether a key was the source of a ReEncrypt, its destination, or both."""
    listed = listed_keys(call)
    if len(listed) >= 2:
        return {role for role, arns in (("source", listed[:1]), ("destination", listed[1:])) if arn in arns}
    named = {
        role
        for role in ("source", "destination")
        if names_listed(part(call.request, f"{role}KeyId"), arn)
    }
    return named or {"source"}


def context_of(call: Call, arn: str) -> dict[str, str] | None:
    if call.name != "ReEncrypt":
        return string_map(part(call.request, "encryptionContext"))
    roles = roles_in_reencrypt(call, arn)
    source = string_map(part(call.request, "sourceEncryptionContext")) if "source" in roles else None
    destination = string_map(part(call.request, "destinationEncryptionContext")) if "destination" in roles else None
    return source or destination


def principal_of(call: Call) -> str | None:
    """The stable name of the caller; the ARN of an assumed role ends in a session name that the caller chose."""
    identity = call.fields.get("userIdentity")
    return text(part(identity, "sessionContext", "sessionIssuer", "arn")) or text(part(identity, "arn"))


SESSION = re.compile(r".*?:assumed-role/[^/]+/(.+)", re.DOTALL)


def session_of(call: Call) -> str | None:
    match = SESSION.fullmatch(text(part(call.fields, "userIdentity", "arn")) or "")
    return match.group(1) if match else None


def state_after(call: Call) -> str | None:
    if call.name == "CreateKey":
        return "PendingImport" if part(call.request, "origin") == "EXTERNAL" else "Enabled"
    if call.name == "ScheduleKeyDeletion":
        return text(part(call.fields, "responseElements", "keyState")) or "PendingDeletion"
    return STATE_AFTER.get(call.name)


# ---------------------------------------------------------------------------------------------------------------------------
# The ledger
# ---------------------------------------------------------------------------------------------------------------------------


@dataclass
class Register:
    """A value whose last writer wins, whatever the order in which the writers are heard."""

    value: Any = None
    stamp: tuple[datetime, str] | None = None

    def write(self, time: datetime, event_id: str, value: Any) -> None:
        if self.stamp is None or (time, event_id) > self.stamp:
            self.value, self.stamp = value, (time, event_id)


@dataclass(frozen=True)
class Sighting:
    """One copy of a use or an attempt, with what decides which copy is shown."""

    call: Call
    principal: str | None
    context: dict[str, str] | None

    @property
    def rank(self) -> tuple[datetime, bool, bool, str]:
        return (self.call.time, self.principal is not None, self.context is not None, self.call.event_id)

    def as_use(self) -> dict[str, Any]:
        return {
            "at": shown(self.call.time),
            "operation": self.call.name,
            "principal": self.principal,
            "session": session_of(self.call),
            "invoked_by": text(part(self.call.fields, "userIdentity", "invokedBy")),
            "source_ip": text(self.call.fields.get("sourceIPAddress")),
            "event_id": self.call.event_id,
            "encryption_context": self.context,
        }

    def as_attempt(self) -> dict[str, Any]:
        return {
            "at": shown(self.call.time),
            "operation": self.call.name,
            "principal": self.principal,
            "error_code": self.call.error_code,
            "event_id": self.call.event_id,
        }


@dataclass
class Key:
    arn: str
    own: dict[str, set[str]] = field(default_factory=dict)
    foreign: dict[str, set[str]] = field(default_factory=dict)
    last: dict[str, Sighting] = field(default_factory=dict)
    wanted: list[datetime] = field(default_factory=list)
    state: Register = field(default_factory=Register)
    deleted: bool = False
    named_by_alias: bool = False
    tags: dict[str, Register] = field(default_factory=dict)
    created: datetime | None = None
    seen_directly: bool = False

    def count_once(self, kind: str, call: Call) -> None:
        flavour = self.foreign if call.is_foreign(self.arn) else self.own
        flavour.setdefault(kind, set()).add(call.identity)

    def count(self, kind: str, received: set[str]) -> int:
        """A foreign copy stands in for the owner's copy, so it counts only where the owner's trail is not received."""
        own, foreign = len(self.own.get(kind, ())), len(self.foreign.get(kind, ()))
        return own if account_of(self.arn) in received else own + foreign

    def see(self, kind: str, call: Call) -> None:
        """Every copy is evidence, counted or not: the best informed one is shown."""
        sighting = Sighting(call, principal_of(call), context_of(call, self.arn))
        if kind not in self.last or sighting.rank > self.last[kind].rank:
            self.last[kind] = sighting

    def want(self, call: Call) -> None:
        self.count_once("wanted", call)
        self.wanted.append(call.time)

    def set_state(self, time: datetime, event_id: str, state: str) -> None:
        self.deleted = self.deleted or state == "Deleted"
        self.state.write(time, event_id, state)

    def change(self, call: Call) -> None:
        if (state := state_after(call)) is not None:
            self.set_state(call.time, call.event_id, state)
        if call.name == "CreateKey":
            self.created = min(self.created or call.time, call.time)
        for tag, value in tags_written(call):
            self.tags.setdefault(tag, Register()).write(call.time, call.event_id, value)

    @property
    def is_listed(self) -> bool:
        """Attempts alone list no key: the ARN that a failed call asked for may be an invention."""
        return "use" in self.last or "change" in self.own or "change" in self.foreign or self.seen_directly


def tags_written(call: Call) -> Iterator[tuple[str, str | None]]:
    """The tags that a change sets, or removes (None)."""
    if call.name in ("CreateKey", "TagResource"):
        for tag in items(part(call.request, "tags")):
            name, value = text(part(tag, "tagKey")), part(tag, "tagValue")
            if name is not None and isinstance(value, str):
                yield name, clean(value)
    elif call.name == "UntagResource":
        yield from ((name, None) for name in map(text, items(part(call.request, "tagKeys"))) if name is not None)


@dataclass
class Ledger:
    now: datetime
    keys: dict[str, Key] = field(default_factory=dict)
    aliases: dict[tuple[str, str, str], Register] = field(default_factory=dict)
    received: set[str] = field(default_factory=set)
    distinct: set[tuple[str, frozenset[tuple[str, str]]]] = field(default_factory=set)
    read: int = 0
    kms: int = 0
    duplicates: int = 0
    quarantined: int = 0
    malformed: int = 0

    def key(self, arn: str) -> Key:
        return self.keys.setdefault(arn, Key(arn))

    def take_record(self, fields: dict[str, Any], envelope_account: str | None) -> None:
        self.read += 1
        if fields.get("eventSource") != KMS:
            self.take_other(fields, envelope_account)
            return
        self.kms += 1
        call = understood(fields, envelope_account, self.now)
        if call is None:
            self.quarantined += 1
            return
        if (recipient := text(fields.get("recipientAccountId"))) is not None:
            self.received.add(recipient)
        if (kind := kind_of(call)) is not None:
            self.observe(call, kind, keys_of(call))

    def take_other(self, fields: dict[str, Any], envelope_account: str | None) -> None:
        """Another service's record is read and no more, unless it tells of the delivery and cannot be believed."""
        is_call = fields.get("eventType") not in NO_CALL_TYPES and fields.get("eventCategory") not in NO_CALL_CATEGORIES
        about_delivery = fields.get("eventName") in DELIVERY.get(text(fields.get("eventSource")) or "", ())
        if about_delivery and is_call and understood(fields, envelope_account, self.now) is None:
            self.quarantined += 1

    def observe(self, call: Call, kind: str, arns: list[str]) -> None:
        self.tell_duplicate(call, kind, arns)
        for key in map(self.key, arns):
            key.count_once(kind, call)
            if kind == "change":
                key.change(call)
            else:
                key.see(kind, call)
            if kind == "attempt" and call.error_code in WANTED:
                key.want(call)
        if call.name in ALIAS_CHANGES:
            self.move_alias(call, arns)

    def tell_duplicate(self, call: Call, kind: str, arns: list[str]) -> None:
        said = (call.identity, frozenset((arn, kind) for arn in arns))
        if arns and said in self.distinct:
            self.duplicates += 1
        self.distinct.add(said)

    def move_alias(self, call: Call, arns: list[str]) -> None:
        for arn in arns:
            self.key(arn).named_by_alias = True
        if (place := alias_place(call, arns)) is not None:
            # An alias that now points at a key we cannot name has left the old key all the same.
            target = None if call.name == "DeleteAlias" else alias_target(call, arns)
            self.aliases.setdefault(place, Register()).write(call.time, call.event_id, target)

    def take_direct(self, envelope: dict[str, Any]) -> None:
        """An event of KMS's own makes its key known and may set its state; it is counted nowhere."""
        account, region = text(envelope.get("account")), text(envelope.get("region"))
        names = [*items(envelope.get("resources")), part(envelope, "detail", "key-id")]
        arn = next((arn for name in names if (arn := resolve(name, account, region))), None)
        time = instant(envelope.get("time"))
        if arn is None or time is None or time > self.now + FUTURE:
            return
        self.key(arn).seen_directly = True
        if (state := DIRECT_STATE[envelope["detail-type"]]) is not None:
            self.key(arn).set_state(time, text(envelope.get("id")) or "", state)

    def alias_names(self) -> dict[str, list[str]]:
        """The names that point at each key now; an empty list for a key that some alias has left."""
        names: dict[str, list[str]] = {arn: [] for arn, key in self.keys.items() if key.named_by_alias}
        for (_, _, name), register in sorted(self.aliases.items()):
            if register.value is not None:
                names[register.value].append(name)
        return names


def alias_place(call: Call, arns: list[str]) -> tuple[str, str, str] | None:
    """The account, Region and name of the alias that a call is about."""
    listed = (ALIAS_ARN.fullmatch(text(part(entry, "ARN")) or "") for entry in items(call.fields.get("resources")))
    match = next((match for match in listed if match), None)
    name = text(part(call.request, "aliasName")) or (match and match["name"])
    if match:
        account, region = match["account"], match["region"]
    elif arns:
        account, region = account_of(arns[0]), region_of(arns[0])
    else:
        account, region = call.account, call.region
    return (account, region, name) if account and region and name else None


def alias_target(call: Call, arns: list[str]) -> str | None:
    """The key behind the alias from now on: the one that the request names, where a record lists several."""
    target = text(part(call.request, "targetKeyId")) or ""
    return next((arn for arn in arns if arn.endswith(target.rpartition("/")[2])), arns[0] if arns else None)


# ---------------------------------------------------------------------------------------------------------------------------
# From JSON values to records: every envelope is known by its shape
# ---------------------------------------------------------------------------------------------------------------------------


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


DECODER = json.JSONDecoder(parse_constant=refuse)


def is_record(value: dict[str, Any]) -> bool:
    return any(value.get(name) is not None for name in ("eventSource", "eventType", "eventID"))


def take_document(ledger: Ledger, value: Any) -> None:
    """A whole JSON value: a container of records, or a single one. Containers do not nest."""
    if isinstance(value, list):
        elements = value
    elif isinstance(part(value, "Records"), list):
        elements = value["Records"]
    elif isinstance(part(value, "logEvents"), list):
        return take_log_batch(ledger, value)
    else:
        elements = [value]
    for element in elements:
        take_element(ledger, element)


def take_element(ledger: Ledger, value: Any) -> None:
    if not isinstance(value, dict):
        ledger.malformed += 1
    elif isinstance(value.get("logEvents"), list):
        take_log_batch(ledger, value)
    elif is_control(value):
        return
    elif isinstance(value.get("s3ObjectKey"), list) and "s3Bucket" in value:
        # Each key announces an object that is not among the files.
        ledger.malformed += len(value["s3ObjectKey"])
    elif value.get("eventSource") == "aws:s3":
        ledger.malformed += tells_of_creation(value)
    elif value.get("Type") == "Notification" and isinstance(value.get("Message"), str):
        take_message(ledger, value["Message"])
    elif "detail-type" in value:
        take_envelope(ledger, value)
    elif is_record(value):
        ledger.take_record(value, None)
    else:
        ledger.malformed += 1


def is_control(value: dict[str, Any]) -> bool:
    """A message that carries no event and wants none: whoever receives it says yes and forgets it."""
    return (
        value.get("Event") == "s3:TestEvent"
        or value.get("messageType") == "CONTROL_MESSAGE"
        or ("Message" in value and value.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation"))
    )


def tells_of_creation(notification: dict[str, Any]) -> bool:
    """S3 tells of objects that come, which a replay does not have, and of other things, which are nobody's loss."""
    event = text(notification.get("eventName"))
    return event is None or event.removeprefix("s3:").startswith("ObjectCreated:")


def take_log_batch(ledger: Ledger, batch: dict[str, Any]) -> None:
    """A batch of a CloudWatch Logs subscription: every event's message is a text with a record in it."""
    if batch.get("messageType") == "CONTROL_MESSAGE":
        return
    for event in batch["logEvents"]:
        if (message := text(part(event, "message"))) is not None:
            take_message(ledger, message)
        else:
            ledger.malformed += 1


def take_message(ledger: Ledger, message: str) -> None:
    """An SNS notification carries any of the other shapes as a string."""
    try:
        value = DECODER.decode(message)
    except (ValueError, RecursionError):
        ledger.malformed += 1
    else:
        take_document(ledger, value)


def take_envelope(ledger: Ledger, envelope: dict[str, Any]) -> None:
    detail, detail_type = envelope.get("detail"), text(envelope.get("detail-type")) or ""
    if detail_type in DIRECT_STATE and envelope.get("source") == "aws.kms":
        ledger.take_direct(envelope)
    elif detail_type.endswith(" via CloudTrail") and isinstance(detail, dict) and is_record(detail):
        ledger.take_record(detail, text(envelope.get("account")))
    elif envelope.get("source") == "aws.s3" and detail_type != "Object Created":
        return
    else:
        ledger.malformed += 1


# ---------------------------------------------------------------------------------------------------------------------------
# From text to JSON values: one document, or one after the other
# ---------------------------------------------------------------------------------------------------------------------------

SPACE = re.compile(r"[ \t\r\n]*")
SEPARATOR = re.compile(r"[ \t\r\n,]*")
CONTAINER = re.compile(r'(?:\{\s*"Records"\s*:\s*)?\[\s*(?=\{)')


def next_line(content: str, position: int) -> int:
    end = content.find("\n", position)
    return len(content) if end < 0 else end + 1


def decode_at(content: str, position: int) -> tuple[Any, int] | None:
    """The object or array at a position and where it ends; None where there is none that can be read."""
    if not content.startswith(("{", "["), position):
        return None
    try:
        return DECODER.raw_decode(content, position)
    except (ValueError, RecursionError):
        return None


def take_text(ledger: Ledger, content: str) -> bool:
    """Reads all values of a text; False if a container of records breaks off, so that records are lost beyond it.

    What is no JSON costs its line and no more: the next line starts afresh.
    """
    whole = True
    position = SPACE.match(content).end()
    while position < len(content):
        if (decoded := decode_at(content, position)) is not None:
            value, position = decoded
            take_document(ledger, value)
        else:
            if opening := CONTAINER.match(content, position):
                whole = False
                position = salvage(ledger, content, opening.end())
            ledger.malformed += position < len(content)
            position = next_line(content, position)
        position = SPACE.match(content, position).end()
    return whole


def salvage(ledger: Ledger, content: str, position: int) -> int:
    """Takes the good elements of a broken container, up to the first that cannot be read; returns where that one starts."""
    while (decoded := decode_at(content, position)) is not None:
        value, position = decoded
        take_element(ledger, value)
        position = SEPARATOR.match(content, position).end()
    return position


# ---------------------------------------------------------------------------------------------------------------------------
# From paths to text
# ---------------------------------------------------------------------------------------------------------------------------

GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 16

# Records compress some 10 to 50 times. What grows beyond both bounds is a bomb, and reading stops there.
BOMB_SIZE = 64 << 20
BOMB_RATIO = 200


def gunzip(path: str) -> tuple[bytes, str | None]:
    """The decompressed bytes up to the end or the first damage, and what the damage was."""
    content = bytearray()
    packed = os.path.getsize(path)
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read1(CHUNK):
                content += chunk
                if len(content) > BOMB_SIZE and len(content) > BOMB_RATIO * packed:
                    return bytes(content), "decompresses beyond all bounds"
    except (OSError, EOFError, zlib.error) as error:
        return bytes(content), f"damaged gzip: {error}"
    return bytes(content), None


def read_bytes(path: str) -> tuple[bytes, str | None]:
    """The content of a file, decompressed if its first bytes say so, and why it is not whole."""
    try:
        with open(path, "rb") as stream:
            if stream.read(2) == GZIP_MAGIC:
                return gunzip(path)
            stream.seek(0)
            return stream.read(), None
    except OSError as error:
        return b"", str(error)


# ---------------------------------------------------------------------------------------------------------------------------
# Kinesis records that hold several messages: magic bytes, a protobuf message, its MD5
# ---------------------------------------------------------------------------------------------------------------------------

AGGREGATE_MAGIC = b"\xf3\x89\x9a\xc2"
LENGTH_DELIMITED = 2
RECORDS_FIELD = DATA_FIELD = 3


def varint(content: bytes, position: int) -> tuple[int, int]:
    """A protobuf number, least significant seven bits first, and where it ends."""
    value = shift = 0
    while True:
        byte = content[position]
        value, shift, position = value | (byte & 0x7F) << shift, shift + 7, position + 1
        if byte < 0x80:
            return value, position


def fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that have a length; those that are numbers are passed by."""
    position = 0
    while position < len(content):
        key, position = varint(content, position)
        value, position = varint(content, position)
        if key & 7 == LENGTH_DELIMITED:
            if position + value > len(content):
                raise IndexError("a field reaches beyond its message")
            yield key >> 3, content[position : position + value]
            position += value
        elif key & 7 != 0:
            raise ValueError("a field of an odd type")


def take_aggregate(ledger: Ledger, content: bytes) -> None:
    """Each user record is a message of its own, packed or plain; an aggregate among them is refused."""
    message, checksum = content[len(AGGREGATE_MAGIC) : -16], content[-16:]
    if hashlib.md5(message).digest() != checksum:
        ledger.malformed += 1
        return
    try:
        for number, record in fields(message):
            if number == RECORDS_FIELD:
                take_user_record(ledger, dict(fields(record))[DATA_FIELD])
    except (IndexError, KeyError, ValueError):
        ledger.malformed += 1


def take_user_record(ledger: Ledger, data: bytes) -> None:
    try:
        data = gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except (OSError, EOFError, zlib.error):
        ledger.malformed += 1
        return
    if data.startswith(AGGREGATE_MAGIC) or not data.strip():
        ledger.malformed += 1
    else:
        take_text(ledger, data.decode("utf-8-sig", errors="replace"))


# ---------------------------------------------------------------------------------------------------------------------------
# From paths to files
# ---------------------------------------------------------------------------------------------------------------------------


def files_under(path: str, problems: list[str]) -> Iterator[str]:
    """The file itself, or every file of a folder but the digests, which are no logs."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=lambda error: problems.append(str(error))):
        folders[:] = sorted(name for name in folders if name != "CloudTrail-Digest")
        yield from (os.path.join(folder, name) for name in sorted(names))


def take_file(ledger: Ledger, path: str) -> str | None:
    """Reads one file into the ledger; returns why it could not be read whole."""
    if os.path.exists(path) and not os.path.isfile(path):
        return "not a plain file"
    content, problem = read_bytes(path)
    if content.startswith(AGGREGATE_MAGIC) and problem is None:
        take_aggregate(ledger, content)
        return None
    # A damaged byte in some text must not hide a use: it becomes U+FFFD and the record stays.
    whole = take_text(ledger, content.decode("utf-8-sig", errors="replace"))
    return problem or (None if whole else "a list of records breaks off")


# ---------------------------------------------------------------------------------------------------------------------------
# The answer
# ---------------------------------------------------------------------------------------------------------------------------


def wanted_json(key: Key, received: set[str]) -> dict[str, Any] | None:
    if not key.wanted:
        return None
    return {"since": shown(min(key.wanted)), "last": shown(max(key.wanted)), "count": key.count("wanted", received)}


def key_json(key: Key, aliases: list[str] | None, received: set[str]) -> dict[str, Any]:
    use, attempt = key.last.get("use"), key.last.get("attempt")
    tags = {tag: register.value for tag, register in sorted(key.tags.items()) if register.value is not None}
    return {
        "arn": key.arn,
        "last_use": use and use.as_use(),
        "last_attempt": attempt and attempt.as_attempt(),
        "wanted": wanted_json(key, received),
        "uses": key.count("use", received),
        "attempts": key.count("attempt", received),
        "changes": key.count("change", received),
        "state": "Deleted" if key.deleted else key.state.value,
        "aliases": aliases,
        "tags": tags if key.tags else None,
        "created": shown(key.created),
    }


def document(ledger: Ledger) -> dict[str, Any]:
    def total(kind: str) -> int:
        return sum(key.count(kind, ledger.received) for key in ledger.keys.values())

    aliases = ledger.alias_names()
    listed = [key for _, key in sorted(ledger.keys.items()) if key.is_listed]
    return {
        "keys": [key_json(key, aliases.get(key.arn), ledger.received) for key in listed],
        "records": {
            "read": ledger.read,
            "kms": ledger.kms,
            "uses": total("use"),
            "attempts": total("attempt"),
            "changes": total("change"),
            "duplicates": ledger.duplicates,
            "quarantined": ledger.quarantined,
            "malformed": ledger.malformed,
        },
    }


# The part of the answer that holds no text of an outsider's choosing, so that readers which print hostile text differently
# can still be held against each other.
CHECKED = {
    "last_use": ("at", "operation", "event_id"),
    "last_attempt": ("at", "operation", "event_id"),
}
CHECKED_PLAIN = ("arn", "wanted", "uses", "attempts", "changes", "state", "created")


def checked(key: dict[str, Any]) -> dict[str, Any]:
    parts = {name: key[name] and {inner: key[name][inner] for inner in names} for name, names in CHECKED.items()}
    return {name: key[name] for name in CHECKED_PLAIN} | parts


def now_argument(value: str) -> datetime:
    if (time := instant(value)) is None:
        raise argparse.ArgumentTypeError("not an RFC 3339 time")
    return time


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The last use of every KMS key, from CloudTrail files.")
    parser.add_argument("--now", type=now_argument, default=datetime.now(timezone.utc), metavar="RFC3339")
    parser.add_argument("--output", choices=("full", "check"), default="full")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    ledger, problems = Ledger(options.now), []
    for path in options.paths:
        for file in files_under(path, problems):
            if (problem := take_file(ledger, file)) is not None:
                problems.append(f"{file}: {problem}")
    answer = document(ledger)
    if options.output == "check":
        answer["keys"] = [checked(key) for key in answer["keys"]]
    print(json.dumps(answer, indent=2))
    for problem in problems:
        print(f"oracle: not read whole: {problem}", file=sys.stderr)
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
