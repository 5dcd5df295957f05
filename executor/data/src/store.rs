//! Opens an object store by its address, with the environment's settings and the user's.

use std::collections::BTreeMap;
use std::sync::Arc;

use lethe_flight::{Error, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme, parse_url_opts};

use crate::hdfs::Hdfs;

/// The store of `s3://`, `gs://`, `az://`, `https://`, `hdfs://` or `file://`, and the path in it. Options go before
/// the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`).
///
/// # Errors
/// If the address or an option is not one that object_store knows.
pub fn open(address: &str, options: &BTreeMap<String, String>) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let unusable = |error: object_store::Error| {
        Error::Invalid(format!("the store {address} cannot be used: {error}; see its address and options"))
    };
    let url = url::Url::parse(address).map_err(|error| {
        Error::Invalid(format!("the store {address:?} is no address such as s3://bucket/folder: {error}"))
    })?;
    if url.password().is_some() {
        return Err(Error::Invalid(
            "the store's address has a password: give it as an option or in the environment, for the address is \
             written down"
                .into(),
        ));
    }
    if url.scheme() == "hdfs" {
        let store = Hdfs::open(address, options).map_err(unusable)?;
        return Ok((Arc::new(store), Path::from_url_path(url.path()).map_err(path)?));
    }
    let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|e| unusable(e.into()))?;
    let opened: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let mut builder = AmazonS3Builder::from_env().with_url(address);
            for (key, value) in known(options, address)? {
                builder = builder.with_config(key, value);
            }
            // Whoever writes http:// has allowed it.
            let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
            if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
                builder = builder.with_allow_http(true);
            }
            Arc::new(builder.build().map_err(unusable)?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_url(address);
            for (key, value) in known(options, address)? {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.build().map_err(unusable)?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(address);
            for (key, value) in known(options, address)? {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.build().map_err(unusable)?)
        }
        ObjectStoreScheme::Http => {
            // Whoever writes http:// has allowed it.
            let allowed = [("allow_http".to_owned(), "true".to_owned())];
            let options = allowed.into_iter().filter(|_| url.scheme() == "http").chain(options.clone());
            Arc::from(parse_url_opts(&url, options).map_err(unusable)?.0)
        }
        _ => Arc::from(parse_url_opts(&url, options).map_err(unusable)?.0),
    };
    Ok((opened, path))
}

fn path(error: object_store::path::Error) -> Error {
    Error::Invalid(format!("not a path in a store: {error}"))
}

/// A key that is not known would be ignored, and the store asked with the wrong settings.
fn known<'a, K: std::str::FromStr>(
    options: &'a BTreeMap<String, String>,
    address: &str,
) -> Result<Vec<(K, &'a String)>> {
    let parse = |(key, value): (&String, &'a String)| {
        let parsed = key.to_ascii_lowercase().parse().map_err(|_| {
            Error::Invalid(format!(
                "object_store knows no option {key:?} for {address}; its options are named as aws_endpoint, \
                 aws_region, aws_access_key_id, google_service_account, azure_storage_account_name"
            ))
        })?;
        Ok((parsed, value))
    };
    options.iter().map(parse).collect()
}
