//! One way to build an SDK configuration.
//!
//! Credentials come from the SDK's usual chain (environment, profile, SSO, web identity, container, instance). All
//! clients built from one loaded configuration share one HTTP client, hence one connection pool and one reading of the
//! trust store; a service in another Region is the same configuration with another Region. Proxies are taken from
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.

use std::sync::OnceLock;

use aws_config::retry::RetryConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::default_async_sleep;
use aws_smithy_async::time::{SharedTimeSource, SystemTimeSource};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// The name that Dormouse gives itself in its `User-Agent`, and so in CloudTrail.
const APP_NAME: &str = "dormouse";

/// What a person may say about how AWS is reached. Everything left out is the SDK's own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsOptions {
    /// The Region, e.g. `eu-west-1`; otherwise from the environment, the profile or the instance.
    pub region: Option<String>,
    /// Where all services are reached, e.g. `http://127.0.0.1:4566`; otherwise AWS.
    pub endpoint_url: Option<String>,
    /// The profile in the shared configuration files; otherwise `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// The endpoint is a double on this machine: nobody's credentials, no proxy, nothing from environment or files.
    pub is_double: bool,
}

/// Why no configuration could be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The endpoint URL is no `http://` or `https://` URL.
    #[error("the endpoint URL {0:?} is no http:// or https:// URL")]
    EndpointUrl(String),
    /// The Region's name has characters that no Region has.
    #[error("{0:?} is no Region; one looks like eu-west-1")]
    Region(String),
    /// Neither the options nor the environment name a Region.
    #[error("no AWS Region is known: set one in the configuration or in AWS_REGION")]
    NoRegion,
}

/// Loads the SDK's configuration. Call it once and build every client from the answer.
///
/// No credentials are fetched here, so this succeeds without any; the first call of a service then fails as denied.
///
/// # Errors
/// If an option cannot be right, or if no Region is known.
pub async fn load_config(options: &AwsOptions) -> Result<SdkConfig, ConfigError> {
    options.validate()?;
    if options.is_double {
        return double_config(options);
    }
    let http_client = shared_http_client(ProxyConfig::from_env());
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client);
    if let Ok(name) = AppName::new(APP_NAME) {
        loader = loader.app_name(name);
    }
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(url) = &options.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(ConfigError::NoRegion);
    }
    Ok(config)
}

fn double_config(options: &AwsOptions) -> Result<SdkConfig, ConfigError> {
    let region = options.region.clone().ok_or(ConfigError::NoRegion)?;
    let nobody = Credentials::new("nobody", "nobody", None, None, "double");
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(nobody))
        .http_client(shared_http_client(ProxyConfig::disabled()))
        .retry_config(RetryConfig::standard())
        .time_source(SharedTimeSource::new(SystemTimeSource::new()));
    config.set_endpoint_url(options.endpoint_url.clone());
    config.set_sleep_impl(default_async_sleep());
    Ok(config.build())
}

/// The same configuration, for a service in another Region.
pub fn config_for_region(config: &SdkConfig, region: &str) -> SdkConfig {
    config.to_builder().region(Region::new(region.to_owned())).build()
}

impl AwsOptions {
    fn validate(&self) -> Result<(), ConfigError> {
        if let Some(url) = &self.endpoint_url
            && !["http://", "https://"]
                .iter()
                .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
        {
            return Err(ConfigError::EndpointUrl(url.clone()));
        }
        // The name becomes part of a host name, so it must not be able to name another host.
        if let Some(region) = &self.region
            && (region.is_empty() || !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        {
            return Err(ConfigError::Region(region.clone()));
        }
        Ok(())
    }
}

/// One HTTP client with one connection pool. The first client that uses it decides about the connect timeout.
fn shared_http_client(proxy: ProxyConfig) -> SharedHttpClient {
    let connector: OnceLock<SharedHttpConnector> = OnceLock::new();
    http_client_fn(move |settings, components| {
        let new = || SharedHttpConnector::new(new_connector(settings, components, proxy.clone()));
        connector.get_or_init(new).clone()
    })
}

fn new_connector(
    settings: &HttpConnectorSettings,
    components: &RuntimeComponents,
    proxy: ProxyConfig,
) -> Connector {
    let mut builder = ConnectorBuilder::default()
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .connector_settings(settings.clone())
        .proxy_config(proxy);
    builder.set_sleep_impl(components.sleep_impl());
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(region: &str, endpoint_url: Option<&str>) -> AwsOptions {
        AwsOptions {
            region: Some(region.to_owned()),
            endpoint_url: endpoint_url.map(str::to_owned),
            ..AwsOptions::default()
        }
    }

    #[tokio::test]
    async fn what_was_said_is_in_the_configuration() {
        let config = load_config(&options("eu-west-1", Some("http://127.0.0.1:1"))).await.unwrap();
        assert_eq!(config.region().unwrap().as_ref(), "eu-west-1");
        assert_eq!(config.endpoint_url(), Some("http://127.0.0.1:1"));
        assert_eq!(config.app_name().unwrap().as_ref(), "dormouse");
        assert!(config.http_client().is_some());
        let elsewhere = config_for_region(&config, "us-east-1");
        assert_eq!(elsewhere.region().unwrap().as_ref(), "us-east-1");
        assert_eq!(elsewhere.endpoint_url(), Some("http://127.0.0.1:1"));
    }

    #[tokio::test]
    async fn a_double_gets_nobodys_credentials() {
        let url = Some("http://127.0.0.1:1");
        let config = load_config(&AwsOptions { is_double: true, ..options("eu-west-1", url) }).await.unwrap();
        assert_eq!((config.region().unwrap().as_ref(), config.endpoint_url()), ("eu-west-1", url));
        assert!(config.credentials_provider().is_some());
    }

    #[tokio::test]
    async fn what_cannot_be_right_is_refused() {
        for region in ["", "eu-west-1.evil.example", "eu west"] {
            let error = load_config(&options(region, None)).await.unwrap_err();
            assert_eq!(error, ConfigError::Region(region.to_owned()));
        }
        for url in ["", "https://", "localhost:4566", "ftp://host"] {
            let error = load_config(&options("eu-west-1", Some(url))).await.unwrap_err();
            assert_eq!(error, ConfigError::EndpointUrl(url.to_owned()));
        }
    }
}
