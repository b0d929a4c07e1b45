//! MiniStack: SQS, KMS, STS and S3 by somebody else.
//!
//! It is no AWS and has its own mistakes, but it was written from AWS's documents by people who never saw our doubles:
//! where the two agree, it is not because one author misunderstood a page once. What it is known to do otherwise than
//! AWS stands in the tests that meet it.

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use crate::witness::{Server, command};

/// The account that it takes every caller for whose access key is not an account's number.
pub const ACCOUNT: &str = "111122223333";

/// A running MiniStack with nothing in it. Killed when dropped.
#[derive(Debug)]
pub struct MiniStack {
    server: Server,
}

impl MiniStack {
    /// Starts one and waits until it answers. It keeps everything in memory.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command("python/bin/python3");
        command
            .args(["-m", "ministack"])
            .env("GATEWAY_PORT", "0")
            .env("BIND_HOST", "127.0.0.1")
            .env("SERVICES", "sqs,kms,sts,s3")
            .env("MINISTACK_ACCOUNT_ID", ACCOUNT)
            .env("MINISTACK_REGION", "eu-west-1")
            .env("LOG_LEVEL", "INFO")
            // These would listen on ports of their own.
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path());
        let (announcement, health) = ("Running on http://", "/_ministack/ready");
        Self { server: Server::start("MiniStack", &mut command, folder, announcement, health).await }
    }

    /// The one that tests share that bring their own queues, keys and buckets. It ends with the last test that holds it.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MiniStack>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&started);
        started
    }

    /// What to give the SDK as endpoint URL, whatever the service.
    pub fn endpoint(&self) -> String {
        self.server.url("")
    }
}
