#!/usr/bin/env python3
"""Records in the shapes that the KMS developer guide shows in its chapter on logging, with invented names and ids.

`python3 examples.py DIR` writes them five times over: as the folder of a trail, as one record a line, as one EventBridge event a
line, in batches of CloudWatch Logs, and in an aggregated Kinesis record. Messages that carry no event lie between. Whoever reads the whole of DIR must count every call once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

Record = dict[str, Any]

HOME, PARTNER, STRANGER = "111122223333", "444455556666", "777788889999"
OREGON, IRELAND = "us-west-2", "eu-west-1"


def key_arn(key_id: str, account: str = HOME, region: str = OREGON) -> str:
    return f"arn:aws:kms:{region}:{account}:key/{key_id}"


def alias_arn(name: str, account: str = HOME, region: str = OREGON) -> str:
    return f"arn:aws:kms:{region}:{account}:{name}"


APP_KEY = key_arn("1234abcd-12ab-34cd-56ef-1234567890ab")
NEXT_KEY = key_arn("0987dcba-09fe-87dc-65ba-ab0987654321")
SIGNING_KEY = key_arn("a1b2c3d4-5678-90ab-cdef-EXAMPLE11111")
MAC_KEY = key_arn("a1b2c3d4-5678-90ab-cdef-EXAMPLE22222")
IMPORTED_KEY = key_arn("a1b2c3d4-5678-90ab-cdef-EXAMPLE33333")
DOOMED_KEY = key_arn("a1b2c3d4-5678-90ab-cdef-EXAMPLE44444")
DISABLED_KEY = key_arn("a1b2c3d4-5678-90ab-cdef-EXAMPLE55555")
AGREEMENT_KEY = key_arn("a1b2c3d4-5678-90ab-cdef-EXAMPLE66666")
GLOBAL_KEY = key_arn("mrk-1234abcd12ab34cd56ef1234567890ab")
GLOBAL_REPLICA = key_arn("mrk-1234abcd12ab34cd56ef1234567890ab", region=IRELAND)
PARTNER_KEY = key_arn("b5c6d7e8-1111-2222-3333-EXAMPLE77777", account=PARTNER)
STRANGER_KEY = key_arn("c9d0e1f2-4444-5555-6666-EXAMPLE88888", account=STRANGER)
FORGOTTEN_KEY = key_arn("d3e4f5a6-7777-8888-9999-EXAMPLE99999")

# ---------------------------------------------------------------------------------------------------------------------------
# Callers
# ---------------------------------------------------------------------------------------------------------------------------

ALICE: Record = {
    "type": "IAMUser",
    "principalId": "AIDAEXAMPLEALICE00000",
    "arn": f"arn:aws:iam::{HOME}:user/Alice",
    "accountId": HOME,
    "accessKeyId": "AKIAEXAMPLEALICE0000",
    "userName": "Alice",
}


def role(name: str, session: str, account: str = HOME, **more: Any) -> Record:
    return {
        "type": "AssumedRole",
        "principalId": f"AROAEXAMPLEROLE000000:{session}",
        "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
        "accountId": account,
        "accessKeyId": "ASIAEXAMPLEROLE00000",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": "AROAEXAMPLEROLE000000",
                "arn": f"arn:aws:iam::{account}:role/{name}",
                "accountId": account,
                "userName": name,
            },
            "attributes": {"creationDate": "2026-10-01T00:00:00Z", "mfaAuthenticated": "false"},
        },
    } | more


APP = role("app", "i-0abc1234def567890")
ADMIN = role("Admin", "carol@example.com")
ROOT: Record = {"type": "Root", "principalId": HOME, "arn": f"arn:aws:iam::{HOME}:root", "accountId": HOME}
FROM_PARTNER: Record = {"type": "AWSAccount", "principalId": "AIDAEXAMPLEPARTNER000", "accountId": PARTNER}
FROM_HOME: Record = {"type": "AWSAccount", "principalId": "AROAEXAMPLEROLE000000:i-0abc1234def567890", "accountId": HOME}
AWS_INTERNAL: Record = {"accountId": HOME, "invokedBy": "AWS Internal"}
EBS_GRANTEE = role("aws:ec2-infrastructure", "i-0123456789abcdef0", invokedBy="AWS Internal") | {
    "principalId": f"{HOME}:aws:ec2-infrastructure:i-0123456789abcdef0"
}

# ---------------------------------------------------------------------------------------------------------------------------
# Builders
# ---------------------------------------------------------------------------------------------------------------------------


def made_up_id(*seed: str) -> str:
    """The same id for the same seed on every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, " ".join(seed)))


def resource(arn: str) -> Record:
    return {"accountId": arn.split(":")[4], "type": "AWS::KMS::Key", "ARN": arn}


def call(
    name: str,
    time: str,
    *keys: str,
    who: Record = APP,
    request: Record | None = None,
    response: Record | None = None,
    account: str = HOME,
    region: str = OREGON,
    **more: Any,
) -> Record:
    """One API call. Times are given from the day of the month on: all of it happens in October 2026."""
    return {
        "eventVersion": "1.11",
        "userIdentity": who,
        "eventTime": f"2026-10-{time}Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": "192.0.2.10",
        "userAgent": "aws-cli/2.31.0",
        "requestParameters": request,
        "responseElements": response,
        "requestID": made_up_id("request", name, time, account),
        "eventID": made_up_id("event", name, time, account),
        "readOnly": response is None,
        "resources": [resource(arn) for arn in keys],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
    } | more


def service_event(name: str, time: str, *keys: str, details: Record | None = None, **more: Any) -> Record:
    """Something that KMS did on its own."""
    internal = {"sourceIPAddress": "AWS Internal", "userAgent": "AWS Internal", "eventType": "AwsServiceEvent", "readOnly": False}
    return call(name, time, *keys, who=AWS_INTERNAL, **internal, serviceEventDetails=details, **more)


def failure(record: Record, code: str, message: str) -> Record:
    return record | {"errorCode": code, "errorMessage": message, "responseElements": None}


def shared(seed: str, *copies: Record) -> list[Record]:
    """The copies of one cross-account call."""
    return [copy | {"sharedEventID": made_up_id("shared", seed)} for copy in copies]


# ---------------------------------------------------------------------------------------------------------------------------
# The examples
# ---------------------------------------------------------------------------------------------------------------------------

SYMMETRIC = {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}


def uses() -> list[Record]:
    department = {"encryptionContext": {"Department": "Engineering", "Purpose": "Test"}}
    signing = {"messageType": "RAW", "keyId": SIGNING_KEY, "signingAlgorithm": "RSASSA_PSS_SHA_256"}
    return [
        call("Decrypt", "02T09:00:00", APP_KEY, request=SYMMETRIC | department),
        call("Encrypt", "02T09:01:00", APP_KEY, who=ALICE, request=SYMMETRIC | {"keyId": "alias/app"} | department),
        call("GenerateDataKey", "02T09:02:00", APP_KEY, request={"keyId": APP_KEY, "keySpec": "AES_256"} | department),
        call("GenerateDataKeyWithoutPlaintext", "02T09:03:00", APP_KEY, request={"keyId": "alias/app", "keySpec": "AES_256"}),
        call("GenerateDataKeyPair", "02T09:04:00", NEXT_KEY, request={"keyPairSpec": "RSA_3072", "keyId": NEXT_KEY}),
        call("GenerateDataKeyPairWithoutPlaintext", "02T09:05:00", NEXT_KEY, request={"keyPairSpec": "ECC_NIST_P256"}),
        call("GenerateMac", "02T09:06:00", MAC_KEY, request={"macAlgorithm": "HMAC_SHA_512", "keyId": MAC_KEY}),
        call("VerifyMac", "02T09:07:00", MAC_KEY, request={"macAlgorithm": "HMAC_SHA_512", "keyId": MAC_KEY}),
        call("Sign", "02T09:08:00", SIGNING_KEY, request=signing),
        call("Verify", "02T09:09:00", SIGNING_KEY, request=signing),
        call("GetPublicKey", "02T09:10:00", SIGNING_KEY, who=ALICE, request={"keyId": SIGNING_KEY}),
        call("DeriveSharedSecret", "02T09:11:00", AGREEMENT_KEY, request={"keyAgreementAlgorithm": "ECDH"}),
        # Without resources: the key's id and the record's own account and Region name the key.
        call("Encrypt", "02T09:12:00", who=ROOT, request=SYMMETRIC | {"keyId": NEXT_KEY.rpartition("/")[2]}),
        # Without resources and through an alias: nobody but KMS could tell which key it was.
        call("Encrypt", "02T09:13:00", request=SYMMETRIC | {"keyId": "alias/nobody-knows"}),
        # A multi-Region key is several keys with the same id.
        call("Decrypt", "02T09:14:00", GLOBAL_KEY, request=SYMMETRIC),
        call("Decrypt", "02T09:15:00", GLOBAL_REPLICA, region=IRELAND, request=SYMMETRIC),
        # An old record: the resource has no type, and there is no event category yet.
        call("Decrypt", "02T09:16:00", APP_KEY, eventVersion="1.02", eventCategory=None, resources=[{"ARN": APP_KEY}]),
    ]


def reencrypts() -> list[Record]:
    both = {
        "sourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "destinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "sourceEncryptionContext": {"Level": "old"},
        "destinationEncryptionContext": {"Level": "new"},
        "destinationKeyId": NEXT_KEY,
    }
    within = {key: value for key, value in both.items() if key != "sourceEncryptionContext"} | {"destinationKeyId": APP_KEY}
    outward = both | {"destinationKeyId": PARTNER_KEY, "sourceKeyId": APP_KEY}
    return [
        call("ReEncrypt", "03T10:00:00", APP_KEY, NEXT_KEY, request=both),
        # The same key twice is one observation.
        call("ReEncrypt", "03T10:01:00", APP_KEY, APP_KEY, request=within),
        # Only one is listed: the other is used all the same, if its name tells which it is.
        call("ReEncrypt", "03T10:01:10", APP_KEY, request=both),
        call("ReEncrypt", "03T10:01:20", NEXT_KEY, request=both | {"sourceKeyId": APP_KEY}),
        call("ReEncrypt", "03T10:01:30", APP_KEY, request=both | {"destinationKeyId": "alias/next"}),
        # Towards another account: each copy may name the keys of its own account only.
        *shared(
            "outward",
            call("ReEncrypt", "03T10:02:00", APP_KEY, request=outward),
            call("ReEncrypt", "03T10:02:00", PARTNER_KEY, account=PARTNER, who=FROM_HOME, request=outward),
        ),
    ]


def births() -> list[Record]:
    tags = [{"tagKey": "team", "tagValue": "pay"}, {"tagKey": "stage", "tagValue": "prod"}]
    plain = {"keySpec": "SYMMETRIC_DEFAULT", "keyUsage": "ENCRYPT_DECRYPT", "origin": "AWS_KMS", "description": ""}
    metadata = {"aWSAccountId": HOME, "enabled": True, "keyState": "Enabled", "keyManager": "CUSTOMER"}

    def answer(arn: str) -> Record:
        return {"keyMetadata": metadata | {"arn": arn, "keyId": arn.rpartition("/")[2]}}

    imported = plain | {"origin": "EXTERNAL"}
    return [
        call("CreateKey", "01T08:00:00", APP_KEY, who=ADMIN, request=plain | {"tags": tags}, response=answer(APP_KEY)),
        call("CreateKey", "01T08:01:00", who=ADMIN, request=plain, response=answer(NEXT_KEY)),
        call("CreateKey", "01T08:02:00", IMPORTED_KEY, who=ADMIN, request=imported, response=answer(IMPORTED_KEY)),
        call("ImportKeyMaterial", "01T08:03:00", IMPORTED_KEY, who=ADMIN, request={"keyId": IMPORTED_KEY}, response={}),
        service_event("DeleteExpiredKeyMaterial", "20T08:03:00", IMPORTED_KEY),
    ]


def alias_changes() -> list[Record]:
    name = "alias/app"
    there = {"aliasName": name, "targetKeyId": APP_KEY}
    here = {"aliasName": name, "targetKeyId": NEXT_KEY.rpartition("/")[2]}
    old = {"aliasName": "alias/old"}
    return [
        call("CreateAlias", "01T08:10:00", alias_arn(name), APP_KEY, who=ADMIN, request=there, response={}),
        call("UpdateAlias", "10T08:10:00", NEXT_KEY, alias_arn(name), who=ADMIN, request=here, response={}),
        call("CreateAlias", "01T08:11:00", APP_KEY, alias_arn("alias/old"), who=ADMIN, request=there | old, response={}),
        call("DeleteAlias", "11T08:11:00", alias_arn("alias/old"), APP_KEY, who=ADMIN, request=old, response={}),
        # Lists of everything name no key.
        call("ListAliases", "11T08:12:00", who=ADMIN, request={"limit": 100}),
    ]


def tag_changes() -> list[Record]:
    written = {"keyId": APP_KEY, "tags": [{"tagKey": "team", "tagValue": "billing"}]}
    removed = {"keyId": APP_KEY, "tagKeys": ["stage"]}
    return [
        call("TagResource", "05T08:00:00", APP_KEY, who=ADMIN, request=written, response={}),
        call("UntagResource", "05T08:01:00", APP_KEY, who=ADMIN, request=removed, response={}),
    ]


def ends() -> list[Record]:
    scheduled = {"keyId": DOOMED_KEY, "pendingWindowInDays": 7}
    pending = {"keyId": DOOMED_KEY, "keyState": "PendingDeletion", "deletionDate": "Oct 13, 2026 8:00:00 AM"}
    return [
        call("ScheduleKeyDeletion", "04T08:00:00", DOOMED_KEY, who=ADMIN, request=scheduled, response=pending),
        call("CancelKeyDeletion", "05T08:02:00", DOOMED_KEY, who=ADMIN, request={"keyId": DOOMED_KEY}, response={}),
        call("ScheduleKeyDeletion", "06T08:00:00", DOOMED_KEY, who=ADMIN, request=scheduled, response=pending),
        service_event("DeleteKey", "13T08:05:00", DOOMED_KEY, responseElements={"keyId": DOOMED_KEY}),
        call("DisableKey", "07T08:00:00", DISABLED_KEY, who=ADMIN, request={"keyId": DISABLED_KEY}, response={}),
        call("ScheduleKeyDeletion", "08T08:00:00", FORGOTTEN_KEY, who=ADMIN, request=scheduled | {"keyId": FORGOTTEN_KEY}),
    ]


def care() -> list[Record]:
    grant = {
        "keyId": APP_KEY,
        "granteePrincipal": f"arn:aws:iam::{PARTNER}:root",
        "operations": ["Encrypt", "Decrypt", "RetireGrant"],
        "constraints": {"encryptionContextSubset": {"ContextKey1": "Value1"}},
    }
    replica = {"keyId": GLOBAL_KEY, "replicaRegion": IRELAND}
    return [
        service_event("RotateKey", "15T00:00:00", APP_KEY, details={"rotationType": "AUTOMATIC", "keyOrigin": "AWS_KMS"}),
        # Without resources: the details of a service event name its key.
        service_event("RotateKey", "16T00:00:00", details={"keyId": NEXT_KEY}),
        call("RotateKeyOnDemand", "15T08:00:00", APP_KEY, who=ADMIN, request={"keyId": APP_KEY}, response={"keyId": APP_KEY}),
        call("CreateGrant", "09T08:00:00", APP_KEY, who=ADMIN, request=grant, response={"grantId": "f12345"}),
        call("ReplicateKey", "09T08:01:00", GLOBAL_KEY, who=ADMIN, request=replica, response={"keyId": GLOBAL_KEY}),
        service_event("SynchronizeMultiRegionKey", "09T08:02:00", GLOBAL_REPLICA, region=IRELAND, details={"keyId": GLOBAL_REPLICA}),
        call("UpdatePrimaryRegion", "09T09:00:00", GLOBAL_KEY, who=ADMIN, request={"keyId": GLOBAL_KEY, "primaryRegion": IRELAND}, response={}),
        # The new primary Region's copy has no resources; the id is meant for the Region of the record.
        call("UpdatePrimaryRegion", "09T09:00:01", who=ADMIN, region=IRELAND, request={"keyId": GLOBAL_KEY.rpartition("/")[2]}, response={}),
        call("DescribeKey", "09T09:01:00", APP_KEY, who=ADMIN, request={"keyId": "alias/app"}),
    ]


def services() -> list[Record]:
    """Services that call on somebody's behalf say in the context what they protect."""
    volume = {"encryptionContext": {"aws:ebs:id": "vol-0123456789abcdef0"}}
    bucket = {"encryptionContext": {"aws:s3:arn": "arn:aws:s3:::example-bucket/report.csv"}}
    secret = f"arn:aws:secretsmanager:{OREGON}:{HOME}:secret:db-AbCdEf"
    held = {"encryptionContext": {"SecretARN": secret, "SecretVersionId": "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE"}}
    manager = "secretsmanager.amazonaws.com"
    return [
        call("CreateGrant", "17T10:00:00", NEXT_KEY, request={"keyId": NEXT_KEY, "granteePrincipal": "ec2.amazonaws.com"}, response={}),
        call("GenerateDataKeyWithoutPlaintext", "17T10:00:01", NEXT_KEY, who=ALICE | {"invokedBy": "ec2.amazonaws.com"}, request=volume),
        call("Decrypt", "17T10:00:02", NEXT_KEY, who=EBS_GRANTEE, request=volume | SYMMETRIC, sourceIPAddress="AWS Internal"),
        call("Decrypt", "17T10:00:03", NEXT_KEY, who=APP | {"invokedBy": "AWS Internal"}, request=bucket | SYMMETRIC),
        call("Decrypt", "17T10:00:04", NEXT_KEY, who=APP | {"invokedBy": manager}, request=held | SYMMETRIC, sourceIPAddress=manager),
    ]


def failures() -> list[Record]:
    decrypt = call("Decrypt", "18T08:00:00", DISABLED_KEY, request=SYMMETRIC)
    later = call("Decrypt", "18T09:00:00", DISABLED_KEY, request=SYMMETRIC)
    doomed = call("Encrypt", "07T08:30:00", DOOMED_KEY, who=ALICE, request={"keyId": DOOMED_KEY})
    denied = call("Decrypt", "18T08:01:00", APP_KEY, who=ALICE, request=SYMMETRIC)
    invented = call("Encrypt", "18T08:02:00", who=ALICE, request={"keyId": key_arn("ffffffff-ffff-ffff-ffff-ffffffffffff")})
    dry = call("Sign", "18T08:03:00", SIGNING_KEY, request={"keyId": SIGNING_KEY, "dryRun": True})
    rejected = call("EnableKey", "18T08:04:00", DISABLED_KEY, who=ALICE, request={"keyId": DISABLED_KEY})
    busy = call("GenerateDataKey", "18T08:05:00", APP_KEY, request={"keyId": APP_KEY})
    return [
        failure(decrypt, "DisabledException", f"{DISABLED_KEY} is disabled."),
        failure(later, "DisabledException", f"{DISABLED_KEY} is disabled."),
        failure(doomed, "KMSInvalidStateException", f"{DOOMED_KEY} is pending deletion."),
        failure(denied, "AccessDenied", "User: Alice is not authorized to perform: kms:Decrypt"),
        failure(invented, "NotFoundException", "Key does not exist"),
        failure(dry, "DryRunOperationException", "The request would have succeeded, but the DryRun option is set."),
        failure(rejected, "AccessDenied", "User: Alice is not authorized to perform: kms:EnableKey"),
        failure(busy, "ThrottlingException", "Rate exceeded"),
    ]


def across_accounts() -> list[Record]:
    return [
        # Both accounts are received: the owner's copy counts, and the caller's knows who it was.
        *shared(
            "partner",
            call("Decrypt", "19T08:00:00", PARTNER_KEY, request=SYMMETRIC),
            call("Decrypt", "19T08:00:00", PARTNER_KEY, account=PARTNER, who=FROM_HOME, request=SYMMETRIC),
        ),
        # Only the caller's account is received: its copy stands in for the owner's.
        *shared("stranger", call("Decrypt", "19T08:01:00", STRANGER_KEY, request=SYMMETRIC)),
    ]


def at_the_endpoint() -> list[Record]:
    """What passed through a VPC endpoint is a view of a call that has a record of its own."""
    passage = call("Decrypt", "02T09:00:00", APP_KEY, eventType="AwsVpceEvent", eventCategory="NetworkActivity", vpcEndpointId="vpce-0example")
    return shared("passage", passage | {"eventID": made_up_id("passage"), "managementEvent": False})


def other_services() -> list[Record]:
    def other(service: str, name: str, time: str) -> Record:
        return call(name, time, who=ALICE, request={}) | {"eventSource": f"{service}.amazonaws.com"}

    return [
        other("s3", "ListBuckets", "02T09:20:00"),
        other("ec2", "DescribeInstances", "03T10:20:00"),
        # Named like a KMS operation, but nobody's key.
        other("payment-cryptography", "Encrypt", "04T08:20:00"),
        other("secretsmanager", "GetSecretValue", "17T10:00:04"),
    ]


def calls_about_delivery() -> list[Record]:
    """By these an account can go dark. They are no records of KMS."""
    trail = {"name": f"arn:aws:cloudtrail:{OREGON}:{HOME}:trail/main"}
    rule = {"name": "kms-to-the-centre", "eventBusName": "default"}

    def of(service: str, name: str, time: str, request: Record) -> Record:
        return call(name, time, who=ADMIN, request=request, response={}) | {"eventSource": f"{service}.amazonaws.com"}

    return [
        of("cloudtrail", "StopLogging", "21T08:00:00", trail),
        of("cloudtrail", "StartLogging", "21T09:00:00", trail),
        of("cloudtrail", "PutEventSelectors", "21T09:01:00", {"trailName": "main", "eventSelectors": [{"readWriteType": "WriteOnly"}]}),
        failure(of("events", "DisableRule", "21T09:02:00", rule), "AccessDenied", "User: carol is not authorized"),
        of("events", "PutTargets", "21T09:03:00", {"rule": rule["name"], "targets": [{"id": "1", "arn": "arn:aws:sqs:::q"}]}),
    ]


def control_messages() -> list[Record]:
    """What arrives where events arrive and is none."""

    def of_sns(kind: str) -> Record:
        topic = f"arn:aws:sns:{OREGON}:{HOME}:kms-events"
        return {"Type": kind, "MessageId": made_up_id(kind), "TopicArn": topic, "Message": "You have chosen to subscribe", "Token": "0"}

    removed = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete", "s3": {"object": {"key": "a"}}}
    check = {"id": "", "timestamp": 1_790_000_000_000, "message": "CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."}
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-10-01T00:00:00.000Z", "Bucket": "trails", "RequestId": "R"}
    deleted = envelope("Object Deleted", {"bucket": {"name": "trails"}}, HOME, "2026-10-01T00:00:00Z", OREGON, [], made_up_id("gone"))
    return [
        of_sns("SubscriptionConfirmation"),
        of_sns("UnsubscribeConfirmation"),
        {"Records": [removed]},
        {"messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logStream": "", "logEvents": [check]},
        test,
        deleted | {"source": "aws.s3"},
    ]


def direct_events() -> list[Record]:
    """What KMS sends to EventBridge itself, beside CloudTrail's records of the same."""

    def event(detail_type: str, time: str, arn: str) -> Record:
        key_id = arn.rpartition("/")[2]
        return envelope(detail_type, {"key-id": key_id}, HOME, f"2026-10-{time}Z", OREGON, [arn], made_up_id("direct", detail_type, time))

    return [
        event("KMS CMK Rotation", "15T00:00:00", APP_KEY),
        event("KMS CMK Deletion", "13T08:05:00", DOOMED_KEY),
        event("KMS CMK Deletion", "15T08:00:00", FORGOTTEN_KEY),
        event("KMS Imported Key Material Expiration", "20T08:03:00", IMPORTED_KEY),
    ]


def envelope(detail_type: str, detail: Record, account: str, time: str, region: str, resources: list[str], event_id: str) -> Record:
    return {
        "version": "0",
        "id": event_id,
        "detail-type": detail_type,
        "source": "aws.kms",
        "account": account,
        "time": time,
        "region": region,
        "resources": resources,
        "detail": detail,
    }


EXAMPLES: list[Record] = [
    *births(),
    *alias_changes(),
    *tag_changes(),
    *uses(),
    *reencrypts(),
    *care(),
    *ends(),
    *services(),
    *failures(),
    *across_accounts(),
    *at_the_endpoint(),
]
OTHERS: list[Record] = other_services() + calls_about_delivery()
CONTROL: list[Record] = control_messages()
DIRECT: list[Record] = direct_events()

# ---------------------------------------------------------------------------------------------------------------------------
# Writing them
# ---------------------------------------------------------------------------------------------------------------------------


def trail_object(record: Record) -> str:
    """The path of the trail object in which CloudTrail would deliver a record."""
    account, region, day = record["recipientAccountId"], record["awsRegion"], record["eventTime"][:10]
    stamp = day.replace("-", "")
    name = f"{account}_CloudTrail_{region}_{stamp}T2355Z_Example0Example0.json.gz"
    return f"AWSLogs/{account}/CloudTrail/{region}/{day.replace('-', '/')}/{name}"


def bridged(record: Record) -> Record:
    """The EventBridge event that carries a record."""
    kind = "AWS Service Event via CloudTrail" if record["eventType"] == "AwsServiceEvent" else "AWS API Call via CloudTrail"
    event_id = made_up_id("bridge", record["eventID"])
    return envelope(kind, record, record["recipientAccountId"], record["eventTime"], record["awsRegion"], [], event_id)


def write_trail(folder: Path) -> None:
    objects: dict[str, list[Record]] = defaultdict(list)
    for record in EXAMPLES + OTHERS:
        objects[trail_object(record)].append(record)
    for name, records in objects.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # No time stamp within: the same records make the same bytes.
        path.write_bytes(gzip.compress(json.dumps({"Records": records}).encode(), mtime=0))


def log_batch(records: list[Record]) -> bytes:
    """What a CloudWatch Logs subscription puts into a stream."""
    events = [{"id": f"{n:056}", "timestamp": 1_790_000_000_000, "message": json.dumps(record)} for n, record in enumerate(records)]
    head = {"messageType": "DATA_MESSAGE", "owner": HOME, "logGroup": "CloudTrail/logs", "logStream": f"{HOME}_CloudTrail_{OREGON}"}
    return json.dumps(head | {"subscriptionFilters": ["kms"], "logEvents": events}).encode()


def delimited(number: int, content: bytes) -> bytes:
    """A protobuf field with a length."""
    length, head = len(content), bytearray([number << 3 | 2])
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(head) + bytes([length]) + content


def aggregate(messages: list[bytes]) -> bytes:
    """A Kinesis record as the Kinesis Producer Library packs several into one."""
    records = (delimited(3, b"\x08\x00" + delimited(3, message)) for message in messages)
    content = delimited(1, b"partition-key") + b"".join(records)
    return b"\xf3\x89\x9a\xc2" + content + hashlib.md5(content).digest()


def write_batches(folder: Path) -> None:
    everything = EXAMPLES + OTHERS
    batches = [log_batch(everything[begin : begin + 10]) for begin in range(0, len(everything), 10)]
    plain, packed = folder / "batches.json", folder / "batches.json.gz"
    plain.write_bytes(b"\n".join(batches[::2]))
    # As Firehose appends one to the other: no line ends, and a gzip of several members.
    packed.write_bytes(b"".join(gzip.compress(batch, mtime=0) for batch in batches[1::2]))
    messages = [json.dumps(bridged(record)).encode() for record in EXAMPLES]
    (folder / "aggregate.bin").write_bytes(aggregate([*messages, *(gzip.compress(batch, mtime=0) for batch in batches)]))


def write_lines(path: Path, records: list[Record]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: examples.py DIR", file=sys.stderr)
        return 1
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_trail(folder)
    write_lines(folder / "records.ndjson", EXAMPLES + OTHERS)
    write_lines(folder / "eventbridge.ndjson", [bridged(record) for record in EXAMPLES] + DIRECT)
    write_lines(folder / "control.ndjson", CONTROL)
    write_batches(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
