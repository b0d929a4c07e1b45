#![allow(clippy::all, clippy::disallowed_methods, missing_docs)]
use dormouse_cloudtrail::*;
use dormouse_model::*;
use std::time::Instant;
fn record(n: usize, small: bool) -> String {
    let tls = if small { "" } else { r#","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_256_GCM_SHA384","clientProvidedHostHeader":"kms.eu-west-1.amazonaws.com"},"additionalEventData":{"keyMaterialId":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","extra":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"# };
    format!(r#"{{"eventVersion":"1.11","userIdentity":{{"type":"AssumedRole","principalId":"AROAEXAMPLEEXAMPLE:i-0abc{n}","arn":"arn:aws:sts::111122223333:assumed-role/app/i-0abc{n}","accountId":"111122223333","accessKeyId":"ASIAEXAMPLEEXAMPLE","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROAEXAMPLEEXAMPLE","arn":"arn:aws:iam::111122223333:role/app","accountId":"111122223333","userName":"app"}},"attributes":{{"creationDate":"2026-10-01T00:00:00Z","mfaAuthenticated":"false"}},"ec2RoleDelivery":"2.0"}},"invokedBy":"secretsmanager.amazonaws.com"}},"eventTime":"2026-10-01T00:00:{:02}Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","awsRegion":"eu-west-1","sourceIPAddress":"192.0.2.10","userAgent":"aws-sdk-java/2.20.1 Linux/5.10 OpenJDK_64-Bit_Server_VM/17.0.6 Java/17.0.6","requestParameters":{{"encryptionAlgorithm":"SYMMETRIC_DEFAULT","encryptionContext":{{"SecretARN":"arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-{n}","SecretVersionId":"8a5b3f5e-0000-4000-8000-000000000000"}}}},"responseElements":null,"requestID":"8a5b3f5e-0000-4000-8000-{n:012}","eventID":"9a5b3f5e-0000-4000-8000-{n:012}","readOnly":true,"resources":[{{"accountId":"111122223333","type":"AWS::KMS::Key","ARN":"arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-{:012}"}}],"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"{tls}}}"#, n % 60, n % 1000)
}
fn bridge(n: usize) -> String {
    format!(r#"{{"version":"0","id":"11111111-0000-4000-8000-{n:012}","detail-type":"AWS API Call via CloudTrail","source":"aws.kms","account":"111122223333","time":"2026-10-01T00:00:00Z","region":"eu-west-1","resources":[],"detail":{}}}"#, record(n, true))
}
fn time(name: &str, bytes: usize, events: usize, mut f: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..15 { let t = Instant::now(); f(); best = best.min(t.elapsed().as_secs_f64()); }
    println!("{name:40} {:8.0} ns/event {:8.0} MB/s", best / events as f64 * 1e9, bytes as f64 / best / 1e6);
    best
}
fn main() {
    let d = Decoder::new(OperationTable::default(), Limits::default());
    let now: EventTime = "2026-11-01T00:00:00Z".parse().unwrap();
    let n = 10_000;
    for (name, docs) in [("bare 2K", (0..n).map(|i| record(i, false)).collect::<Vec<_>>()), ("bare", (0..n).map(|i| record(i, true)).collect()), ("bridge", (0..n).map(bridge).collect())] {
        let bytes: usize = docs.iter().map(|d| d.len()).sum();
        println!("{name} {} B", bytes / n);
        let p = time(&format!("{name} parse_only"), bytes, n, || for doc in &docs { assert!(parse_only(doc.as_bytes())); });
        let dd = time(&format!("{name} decode"), bytes, n, || { let mut c = 0; for doc in &docs { d.decode(doc.as_bytes(), now, &mut |o| if let Outcome::Kms(k) = o { c += k.observations.len() }); } assert_eq!(c, n); });
        println!("   ratio {:.2}", p / dd);
        let joined = docs.join("\n");
        time(&format!("{name} one message, lines"), bytes, n, || { let mut c = 0; d.decode(joined.as_bytes(), now, &mut |o| if let Outcome::Kms(k) = o { c += k.observations.len() }); assert_eq!(c, n); });
        let trail = format!("{{\"Records\":[{}]}}", docs.join(","));
        time(&format!("{name} one message, Records"), bytes, n, || { let mut c = 0; d.decode(trail.as_bytes(), now, &mut |o| if let Outcome::Kms(k) = o { c += k.observations.len() }); assert_eq!(c, n); });
        let foreign = trail.replace("kms.amazonaws", "s3.amazonaws");
        time(&format!("{name} other service, Records"), bytes, n, || { let mut c = 0; d.decode(foreign.as_bytes(), now, &mut |o| if let Outcome::Other = o { c += 1 }); assert_eq!(c, n); });
        time(&format!("{name} ignored any"), bytes, n, || for doc in &docs { serde_json::from_slice::<serde::de::IgnoredAny>(doc.as_bytes()).unwrap(); });
    }
}
