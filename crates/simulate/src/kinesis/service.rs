//! Requests in, answers out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::Core;
use super::faults::Mishap;
use super::protocol::{
    Aim, ChildShard, CreateRequest, GetRecordsRequest, GetRecordsTail, HashKeyRange, IteratorAnswer,
    IteratorRequest, ListShardsAnswer, ListShardsRequest, MergeRequest, Mode, Monitoring, Operation, Put,
    PutEntry, PutRecordsAnswer, PutRecordsRequest, Refusal, SequenceNumberRange, ShardAnswer, ShardFilter,
    SplitRequest, Summary, SummaryAnswer, from_json, to_json,
};
use super::shard::{self, Handed, MOST_RECORDS, OverQuota, Read, Shard};
use super::stream::{Filter, ReshardError, Stream, StreamOptions};
use super::token::{self, ListToken, Position, ShardIterator};
use crate::faults;
use crate::wire::{Answer, Service};

/// How long iterators and tokens are good for, in milliseconds.
const TOKEN_LIFE_MS: i64 = 300_000;
const SHARDS_IN_A_LIST: usize = 1_000;
const MOST_SHARDS_IN_A_LIST: usize = 10_000;
/// Ten MiB of records in base64, and what is around them.
const LARGEST_REQUEST: usize = 16 << 20;

impl Service for Core {
    fn largest_request(&self) -> usize {
        LARGEST_REQUEST
    }

    async fn answer(&self, request: Request<Bytes>) -> Answer {
        let target =
            request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or("");
        let Some(operation) = Operation::from_target(target) else {
            return refuse(&Refusal::unknown_operation(format!("The operation {target:?} is not known.")));
        };
        self.requests[operation.index()].fetch_add(1, Ordering::Relaxed);
        let aim = match from_json::<Aim<'_>>(request.body()) {
            Ok(aim) => aim,
            Err(refusal) => return refuse(&refusal),
        };
        let stream = self.aimed_at(&aim);
        if let Some(stream) = &stream {
            stream.requests[operation.index()].fetch_add(1, Ordering::Relaxed);
        }
        let roll = self.faults.roll(operation, stream.as_ref().map(|stream| stream.identity.name.as_str()));
        if !roll.latency.is_zero() {
            tokio::time::sleep(roll.latency).await;
        }
        if let Some(mishap) = roll.mishap {
            return suffer(mishap, operation, stream.as_deref());
        }
        let result = self.perform(operation, &aim, request.body(), roll.empty);
        if roll.answer_lost {
            return Answer::HangUp;
        }
        match result {
            Ok(body) => reply(StatusCode::OK, body),
            Err(refusal) => refuse(&refusal),
        }
    }
}

fn reply(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    Answer::Reply(response)
}

fn refuse(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply(status, refusal.body())
}

fn suffer(mishap: Mishap, operation: Operation, stream: Option<&Stream>) -> Answer {
    refuse(&match mishap {
        Mishap::Common(faults::Mishap::Dropped) => return Answer::HangUp,
        Mishap::Common(faults::Mishap::Throttled) if operation.is_of_shards() => over_quota(),
        Mishap::Common(faults::Mishap::Throttled) => {
            Refusal::limit_exceeded("Rate exceeded for the account.")
        }
        Mishap::Common(faults::Mishap::InternalError) => {
            Refusal::internal("The request processing has failed because of an unknown error.")
        }
        Mishap::Common(faults::Mishap::Unavailable) => Refusal::unavailable("Service is unavailable"),
        Mishap::AccessDenied => {
            let resource = stream.map_or("*", |stream| &stream.identity.arn);
            Refusal::access_denied(format!(
                "User: arn:aws:sts::111122223333:assumed-role/reader/session is not authorized to perform: \
                 kinesis:{} on resource: {resource} because no identity-based policy allows the kinesis:{} action",
                operation.name(),
                operation.name()
            ))
        }
    })
}

fn over_quota() -> Refusal {
    Refusal::throughput_exceeded("Rate exceeded for shard in stream.")
}

impl From<ReshardError> for Refusal {
    fn from(error: ReshardError) -> Self {
        let message = error.to_string();
        match error {
            ReshardError::UnknownStream(_) | ReshardError::UnknownShard(_) => Self::not_found(message),
            ReshardError::Closed(_) | ReshardError::NotAdjacent(..) | ReshardError::Indivisible(_) => {
                Self::invalid_argument(message)
            }
        }
    }
}

impl Core {
    /// The stream that a request is for, if there is one.
    fn aimed_at(&self, aim: &Aim<'_>) -> Option<Arc<Stream>> {
        if let Some(name) = aim.stream_arn.as_ref().or(aim.stream_name.as_ref()) {
            return self.stream(name).ok();
        }
        let iterator = aim.shard_iterator.as_ref().and_then(|text| ShardIterator::parse(text));
        let token = aim.next_token.as_ref().and_then(|text| ListToken::parse(text));
        let number = iterator.map(|iterator| iterator.stream).or(token.map(|token| token.stream))?;
        self.stream_of_number(number)
    }

    fn perform(
        &self,
        operation: Operation,
        aim: &Aim<'_>,
        body: &[u8],
        empty: bool,
    ) -> Result<Vec<u8>, Refusal> {
        match operation {
            Operation::GetRecords => self.get_records(aim, &from_json(body)?, empty),
            Operation::GetShardIterator => self.shard_iterator(aim, &from_json(body)?),
            Operation::ListShards => self.list_shards(aim, &from_json(body)?),
            Operation::DescribeStreamSummary => Ok(summary(&*self.wanted(aim)?)),
            Operation::PutRecord => self.put_record(aim, &from_json(body)?),
            Operation::PutRecords => self.put_records(aim, &from_json(body)?),
            Operation::CreateStream => self.create_stream_on_request(aim, &from_json(body)?),
            Operation::DeleteStream => {
                self.delete_stream(&self.wanted(aim)?.identity.arn).map_err(|_| no_stream(aim))?;
                Ok(Vec::new())
            }
            Operation::SplitShard => self.split_shard(aim, &from_json(body)?),
            Operation::MergeShards => self.merge_shards(aim, &from_json(body)?),
        }
    }

    /// The stream that the request names.
    fn wanted(&self, aim: &Aim<'_>) -> Result<Arc<Stream>, Refusal> {
        let Some(name) = aim.stream_arn.as_ref().or(aim.stream_name.as_ref()) else {
            return Err(Refusal::invalid_argument("Either StreamName or StreamARN should be provided."));
        };
        let stream = self.stream(name).map_err(|_| no_stream(aim))?;
        match &aim.stream_name {
            Some(name) if **name != stream.identity.name => {
                Err(Refusal::invalid_argument("StreamName and StreamARN name different streams."))
            }
            _ => Ok(stream),
        }
    }

    fn wanted_shard(&self, stream: &Stream, id: &str) -> Result<Arc<Shard>, Refusal> {
        let shard = shard::number_of(id).and_then(|number| stream.shard(number, self.now()));
        shard.ok_or_else(|| {
            Refusal::not_found(format!("Shard {id} in stream {} does not exist", stream.identity.arn))
        })
    }

    fn get_records(
        &self,
        aim: &Aim<'_>,
        request: &GetRecordsRequest,
        empty: bool,
    ) -> Result<Vec<u8>, Refusal> {
        let now = self.now();
        let text = aim.shard_iterator.as_deref().unwrap_or_default();
        let iterator =
            ShardIterator::parse(text).ok_or_else(|| Refusal::invalid_argument("Invalid ShardIterator."))?;
        let most = bounded("limit", request.limit, MOST_RECORDS, MOST_RECORDS)?;
        let generation = self.generation.load(Ordering::Relaxed);
        if iterator.generation != generation || now - iterator.given > TOKEN_LIFE_MS {
            return Err(Refusal::expired_iterator(format!(
                "Iterator expired. The iterator was created at time {} while right now it is {now} which is \
                 further in the future than the tolerated delay of {TOKEN_LIFE_MS} milliseconds.",
                iterator.given
            )));
        }
        let stream = self.stream_of_number(iterator.stream).ok_or_else(|| no_stream(aim))?;
        if aim.stream_arn.as_ref().is_some_and(|arn| **arn != stream.identity.arn) {
            return Err(Refusal::invalid_argument("The ShardIterator is not of the stream of StreamARN."));
        }
        let shard = self.wanted_shard(&stream, &shard::id_of(iterator.shard))?;
        let read = Read {
            from: iterator.position,
            most,
            quota: stream.options.quota,
            empty,
            horizon: stream.horizon(now),
            now,
        };
        let handed = shard.read(&read).map_err(|OverQuota| over_quota())?;
        stream.handed_out.fetch_add(handed.count as u64, Ordering::Relaxed);
        let next = ShardIterator { position: handed.next, given: now, generation, ..iterator };
        Ok(records(&stream, &handed, next))
    }

    fn shard_iterator(&self, aim: &Aim<'_>, request: &IteratorRequest<'_>) -> Result<Vec<u8>, Refusal> {
        let stream = self.wanted(aim)?;
        let shard = self.wanted_shard(&stream, &request.shard_id)?;
        let iterator = ShardIterator {
            stream: shard.stream,
            shard: shard.number,
            position: self.position(&shard, request)?,
            given: self.now(),
            generation: self.generation.load(Ordering::Relaxed),
        };
        Ok(to_json(&IteratorAnswer { shard_iterator: iterator.text() }))
    }

    /// Where an iterator begins. What is trimmed by the time of the read is skipped then.
    fn position(&self, shard: &Shard, request: &IteratorRequest<'_>) -> Result<Position, Refusal> {
        let kind = &*request.shard_iterator_type;
        let number = request.starting_sequence_number.as_deref();
        match (kind, number) {
            ("TRIM_HORIZON", None) => Ok(0),
            ("LATEST", None) => Ok(shard.latest()),
            ("AT_TIMESTAMP", None) => self.timestamp_position(shard, request.timestamp),
            ("AT_SEQUENCE_NUMBER", Some(number)) => numbered(shard, number),
            ("AFTER_SEQUENCE_NUMBER", Some(number)) => Ok(numbered(shard, number)? + 1),
            (
                "TRIM_HORIZON" | "LATEST" | "AT_TIMESTAMP" | "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER",
                _,
            ) => Err(Refusal::invalid_argument(format!(
                "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and \
                     StartingSequenceNumber or (2) TRIM_HORIZON, LATEST or AT_TIMESTAMP and no \
                     StartingSequenceNumber. Request specified {kind}."
            ))),
            _ => Err(Refusal::invalid(format!(
                "1 validation error detected: Value '{kind}' at 'shardIteratorType' failed to satisfy constraint"
            ))),
        }
    }

    fn timestamp_position(&self, shard: &Shard, seconds: Option<f64>) -> Result<Position, Refusal> {
        let Some(seconds) = seconds else {
            return Err(Refusal::invalid_argument(
                "Must specify a timestamp for iterators of type AT_TIMESTAMP.",
            ));
        };
        let time = milliseconds(seconds);
        if time > self.now() {
            return Err(Refusal::invalid_argument(
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis.",
            ));
        }
        Ok(shard.at_timestamp(time))
    }

    fn list_shards(&self, aim: &Aim<'_>, request: &ListShardsRequest<'_>) -> Result<Vec<u8>, Refusal> {
        let most = bounded("maxResults", request.max_results, SHARDS_IN_A_LIST, MOST_SHARDS_IN_A_LIST)?;
        let now = self.now();
        let (stream, after, filter) = match &aim.next_token {
            Some(token) => self.continued_list(aim, request, token, now)?,
            None => {
                let stream = self.wanted(aim)?;
                let (after, filter) = list_order(request)?;
                (stream, after, filter)
            }
        };
        let mut shards = stream.list(after, filter, now);
        let more = shards.len() > most;
        shards.truncate(most);
        let token = |last: &Arc<Shard>| {
            let number = stream.identity.number;
            ListToken { stream: number, after: last.number, given: now, filter: filter.encoded() }.text()
        };
        let next_token = shards.last().filter(|_| more).map(token);
        let shards = shards.iter().map(|shard| shard_answer(shard)).collect();
        Ok(to_json(&ListShardsAnswer { shards, next_token }))
    }

    fn continued_list(
        &self,
        aim: &Aim<'_>,
        request: &ListShardsRequest<'_>,
        token: &str,
        now: i64,
    ) -> Result<(Arc<Stream>, Option<u32>, Filter), Refusal> {
        let excluded = aim.stream_name.is_some()
            || request.stream_creation_timestamp.is_some()
            || request.exclusive_start_shard_id.is_some();
        if excluded {
            return Err(Refusal::invalid_argument("NextToken and StreamName cannot be provided together."));
        }
        let invalid = || Refusal::invalid_argument("Invalid NextToken.");
        let token = ListToken::parse(token).ok_or_else(invalid)?;
        if now - token.given > TOKEN_LIFE_MS {
            return Err(Refusal::expired_token("The NextToken has expired."));
        }
        let filter = Filter::decoded(token.filter).ok_or_else(invalid)?;
        let stream = self.stream_of_number(token.stream).ok_or_else(|| no_stream(aim))?;
        if aim.stream_arn.as_ref().is_some_and(|arn| **arn != stream.identity.arn) {
            return Err(invalid());
        }
        Ok((stream, Some(token.after), filter))
    }

    fn put_record(&self, aim: &Aim<'_>, entry: &PutEntry<'_>) -> Result<Vec<u8>, Refusal> {
        let stream = self.wanted(aim)?;
        Ok(to_json(&self.put_decoded(&stream, entry, &decoded(entry)?)))
    }

    fn put_records(&self, aim: &Aim<'_>, request: &PutRecordsRequest<'_>) -> Result<Vec<u8>, Refusal> {
        let stream = self.wanted(aim)?;
        let mut entries = Vec::with_capacity(request.records.len());
        for entry in &request.records {
            entries.push((entry, decoded(entry)?));
        }
        let put = entries.iter().map(|(entry, decoded)| self.put_decoded(&stream, entry, decoded));
        Ok(to_json(&PutRecordsAnswer { failed_record_count: 0, records: put.collect() }))
    }

    fn put_decoded(&self, stream: &Stream, entry: &PutEntry<'_>, decoded: &Decoded) -> Put {
        let (shard, position) = stream.put(self.now(), &entry.partition_key, decoded.hash, &decoded.data);
        Put { shard_id: shard.id(), sequence_number: shard.sequence_number(position) }
    }

    fn create_stream_on_request(&self, aim: &Aim<'_>, request: &CreateRequest) -> Result<Vec<u8>, Refusal> {
        let name = aim.stream_name.as_deref().ok_or_else(|| Refusal::invalid("StreamName is missing."))?;
        let (_, made) = self.create_stream(name, request.shard_count.unwrap_or(1), StreamOptions::default());
        if made { Ok(Vec::new()) } else { Err(Refusal::in_use(format!("Stream {name} already exists."))) }
    }

    fn split_shard(&self, aim: &Aim<'_>, request: &SplitRequest<'_>) -> Result<Vec<u8>, Refusal> {
        let at = hash_key(&request.new_starting_hash_key)?;
        self.wanted(aim)?.split(self.now(), &request.shard_to_split, Some(at))?;
        Ok(Vec::new())
    }

    fn merge_shards(&self, aim: &Aim<'_>, request: &MergeRequest<'_>) -> Result<Vec<u8>, Refusal> {
        let stream = self.wanted(aim)?;
        stream.merge(self.now(), &request.shard_to_merge, &request.adjacent_shard_to_merge)?;
        Ok(Vec::new())
    }
}

fn no_stream(aim: &Aim<'_>) -> Refusal {
    let name = aim.stream_arn.as_deref().or(aim.stream_name.as_deref()).unwrap_or("of the request");
    Refusal::not_found(format!("Stream {name} not found."))
}

/// The answer of a `GetRecords`. The records are JSON already.
fn records(stream: &Stream, handed: &Handed, next: ShardIterator) -> Vec<u8> {
    let children = (handed.ended && stream.options.child_shards)
        .then(|| stream.children(next.shard).iter().map(|child| child_shard(child)).collect());
    let tail = GetRecordsTail {
        next_shard_iterator: (!handed.ended).then(|| next.text()),
        millis_behind_latest: handed.behind_ms,
        child_shards: children,
    };
    let tail = to_json(&tail);
    let inside = tail.strip_prefix(b"{").unwrap_or_default();
    [br#"{"Records":["#, handed.json.as_slice(), b"],", inside].concat()
}

fn child_shard(shard: &Shard) -> ChildShard {
    ChildShard {
        shard_id: shard.id(),
        parent_shards: shard.parent.into_iter().chain(shard.adjacent_parent).map(shard::id_of).collect(),
        hash_key_range: hash_key_range(shard),
    }
}

fn shard_answer(shard: &Shard) -> ShardAnswer {
    ShardAnswer {
        shard_id: shard.id(),
        parent_shard_id: shard.parent.map(shard::id_of),
        adjacent_parent_shard_id: shard.adjacent_parent.map(shard::id_of),
        hash_key_range: hash_key_range(shard),
        sequence_number_range: SequenceNumberRange {
            starting_sequence_number: shard.sequence_number(0),
            ending_sequence_number: shard.ending().map(|position| shard.sequence_number(position)),
        },
    }
}

fn hash_key_range(shard: &Shard) -> HashKeyRange {
    HashKeyRange {
        starting_hash_key: shard.range.first.to_string(),
        ending_hash_key: shard.range.last.to_string(),
    }
}

/// The position of a sequence number that was given out for this shard.
fn numbered(shard: &Shard, number: &str) -> Result<Position, Refusal> {
    match token::parse_sequence_number(number) {
        Some((stream, in_shard, position)) if stream == shard.stream && in_shard == shard.number => {
            Ok(position)
        }
        _ => Err(Refusal::invalid_argument(format!(
            "StartingSequenceNumber {number} used in GetShardIterator on shard {} is invalid.",
            shard.id()
        ))),
    }
}

/// Behind which shard a list begins, and what it shows.
fn list_order(request: &ListShardsRequest<'_>) -> Result<(Option<u32>, Filter), Refusal> {
    let mut after = request.exclusive_start_shard_id.as_deref().map(listed_after).transpose()?;
    let Some(ShardFilter { kind, shard_id, timestamp }) = &request.shard_filter else {
        return Ok((after, Filter::All));
    };
    let time = || {
        let seconds =
            timestamp.ok_or_else(|| Refusal::invalid_argument(format!("{kind} needs a Timestamp.")))?;
        Ok::<i64, Refusal>(milliseconds(seconds))
    };
    let filter = match &**kind {
        "FROM_TRIM_HORIZON" => Filter::All,
        "AT_TRIM_HORIZON" => Filter::AtTrimHorizon,
        "AT_LATEST" => Filter::AtLatest,
        "AT_TIMESTAMP" => Filter::At(time()?),
        "FROM_TIMESTAMP" => Filter::From(time()?),
        "AFTER_SHARD_ID" => {
            after = after.max(Some(listed_after(shard_id.as_deref().unwrap_or_default())?));
            Filter::All
        }
        _ => return Err(Refusal::invalid(format!("{kind} is no type of a ShardFilter."))),
    };
    Ok((after, filter))
}

fn listed_after(id: &str) -> Result<u32, Refusal> {
    shard::number_of(id).ok_or_else(|| Refusal::invalid_argument(format!("{id:?} is no id of a shard.")))
}

/// What is put, out of its texts.
struct Decoded {
    data: Vec<u8>,
    hash: Option<u128>,
}

fn decoded(entry: &PutEntry<'_>) -> Result<Decoded, Refusal> {
    let data = STANDARD.decode(&*entry.data).map_err(|error| Refusal::malformed(error.to_string()))?;
    Ok(Decoded { data, hash: entry.explicit_hash_key.as_deref().map(hash_key).transpose()? })
}

fn hash_key(text: &str) -> Result<u128, Refusal> {
    text.parse().map_err(|_| Refusal::invalid_argument(format!("{text:?} is no hash key.")))
}

fn bounded(name: &str, value: Option<i64>, usual: usize, most: usize) -> Result<usize, Refusal> {
    let Some(value) = value else {
        return Ok(usual);
    };
    let fits = usize::try_from(value).ok().filter(|value| (1..=most).contains(value));
    fits.ok_or_else(|| {
        Refusal::invalid(format!(
            "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must \
             be from 1 to {most}"
        ))
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float that is out of range becomes the nearest integer"
)]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of these centuries fit")]
fn summary(stream: &Stream) -> Vec<u8> {
    let identity = &stream.identity;
    to_json(&SummaryAnswer {
        stream_description_summary: Summary {
            stream_name: &identity.name,
            stream_arn: &identity.arn,
            stream_status: "ACTIVE",
            stream_mode_details: Mode { stream_mode: "PROVISIONED" },
            retention_period_hours: stream.options.retention_hours,
            stream_creation_timestamp: identity.created as f64 / 1_000.0,
            enhanced_monitoring: [Monitoring { shard_level_metrics: [] }],
            encryption_type: "NONE",
            open_shard_count: stream.open_shards(),
            consumer_count: 0,
        },
    })
}
