//! Which files a dataset has, and their schema: listed once by the driver, so that all executors see the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::datasource::file_format::FileFormat as Format;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use glob::{MatchOptions, Pattern};
use lethe_flight::message::dataset::{FileFormat, FileRef, Files, ListedFiles};
use lethe_flight::{Error, Result, schema};
use object_store::path::{Path, PathPart};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use percent_encoding::percent_decode_str;

use crate::store;

/// Files of one dataset: their names travel in one message.
const FILES: usize = 10_000;
/// Files whose schema is read: CSV and JSON show their types only by their values.
const SCHEMAS: usize = 64;
/// A name for a missing value in a folder, as Hive and Spark write it.
pub const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Lists the files, and reads the schema from the first ones.
///
/// # Errors
/// If there are none, they are of several formats or stores, or one cannot be read; the error names it.
pub async fn list(files: &Files) -> Result<ListedFiles> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut opened: Option<(String, Arc<dyn ObjectStore>)> = None;
    for address in &files.urls {
        let (url, pattern) = split_pattern(address)?;
        let base = url.object_store().as_str().to_owned();
        match &opened {
            None => {
                opened = Some((base.clone(), store::open(&location(&base, url.prefix())?, &files.options)?.0))
            }
            Some((first, _)) if *first == base => {}
            Some((first, _)) => {
                return Err(Error::Invalid(format!(
                    "{address} lies in another store than {first}: a dataset's files lie in one; copy them, or make \
                     two datasets"
                )));
            }
        }
        let Some((_, store)) = &opened else { continue };
        for meta in objects(store, &url, pattern.as_ref(), address).await? {
            let reference = FileRef {
                url: location(&base, &meta.location)?,
                bytes: meta.size,
                etag: meta.e_tag.clone(),
                modified_ms: meta.last_modified.timestamp_millis(),
            };
            let folders = folders(url.prefix(), &meta.location);
            found.insert(reference.url.clone(), Found { file: reference, meta, folders });
            if found.len() > FILES {
                return Err(Error::Exhausted(format!(
                    "{address} has more than {FILES} files: write fewer, larger ones (df.coalesce), or name a folder \
                     below it"
                )));
            }
        }
    }
    let Some((_, store)) = opened else { return Err(Error::Invalid("no file is named".into())) };
    let Some(Found { file: first, folders, .. }) = found.values().next() else {
        return Err(Error::Invalid(format!("there are no files at {}", files.urls.join(", "))));
    };
    let format = match files.format {
        Some(format) => format,
        None => by_ending(&first.url)?,
    };
    if files.format.is_none() {
        for Found { file, .. } in found.values() {
            let other = by_ending(&file.url)?;
            if other != format {
                return Err(Error::Invalid(format!(
                    "{} is {other:?} and {} is {format:?}: a dataset has files of one format; name them by a pattern, \
                     or give format=",
                    file.url, first.url
                )));
            }
        }
    }
    let columns = names(folders);
    if let Some(other) = found.values().find(|found| names(&found.folders) != columns) {
        return Err(Error::Invalid(format!(
            "{} lies in folders of other columns than {columns:?}, which those of the first file are",
            other.file.url
        )));
    }
    let metas: Vec<_> = found.values().map(|found| found.meta.clone()).take(SCHEMAS).collect();
    let context = SessionContext::new();
    let inferred = handler(format).infer_schema(&context.state(), &store, &metas).await;
    let inferred = inferred.map_err(|e| {
        Error::Invalid(format!("{} cannot be read as {format:?}: {}", first.url, e.strip_backtrace()))
    })?;
    if let Some(twice) = columns.iter().find(|name| inferred.field_with_name(name).is_ok()) {
        return Err(Error::Invalid(format!(
            "the column {twice:?} stands in the files and in their folders' names: leave it out of one"
        )));
    }
    Ok(ListedFiles {
        format,
        files: found.into_values().map(|found| found.file).collect(),
        folders: columns,
        schema: schema::render(&inferred)?,
        options: files.options.clone(),
    })
}

struct Found {
    file: FileRef,
    meta: ObjectMeta,
    /// Columns that its folders' names give, and their values.
    folders: Vec<(String, String)>,
}

fn names(folders: &[(String, String)]) -> Vec<String> {
    folders.iter().map(|(name, _)| name.clone()).collect()
}

/// DataFusion's reader of a format.
pub fn handler(format: FileFormat) -> Arc<dyn Format> {
    match format {
        FileFormat::Parquet => Arc::new(ParquetFormat::default().with_force_view_types(false)),
        FileFormat::Csv => Arc::new(CsvFormat::default().with_has_header(true)),
        FileFormat::Json => Arc::new(JsonFormat::default()),
        FileFormat::Arrow => Arc::new(ArrowFormat),
    }
}

/// # Errors
/// If a file is not there any more, or another than when it was listed.
pub async fn check(store: &Arc<dyn ObjectStore>, files: &[FileRef]) -> Result<Vec<ObjectMeta>> {
    let mut heads = Vec::with_capacity(files.len());
    for file in files {
        heads.push(head(Arc::clone(store), file));
    }
    futures::stream::iter(heads).buffered(16).try_collect().await
}

async fn head(store: Arc<dyn ObjectStore>, file: &FileRef) -> Result<ObjectMeta> {
    let gone = |error| Error::Precondition(format!("{} cannot be read any more: {}", file.url, why(&error)));
    let meta = store.head(&path_of(&file.url)?).await.map_err(gone)?;
    let changed = meta.size != file.bytes
        || match (&meta.e_tag, &file.etag) {
            (Some(now), Some(then)) => bare(now) != bare(then),
            _ => meta.last_modified.timestamp_millis() != file.modified_ms,
        };
    if changed {
        return Err(Error::Precondition(format!(
            "{} has changed since the dataset was made: make the dataset anew (Dataset.from_files)",
            file.url
        )));
    }
    Ok(meta)
}

/// An entity tag without its quotes: Azure lists them without, and answers with them.
fn bare(tag: &str) -> &str {
    tag.trim_start_matches("W/").trim_matches('"')
}

/// Of what a store says, which may be a page of HTML, so many characters.
const SAID: usize = 400;

/// Why a store does not give a file, and what to do.
pub fn why(error: &object_store::Error) -> String {
    use object_store::Error as Store;
    let text = error.to_string();
    // Where S3's client asks for the credentials of a machine of Amazon's, when it was given none.
    if text.contains("169.254.169.254") {
        return "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, give \
                Dataset.from_files options, or set spark.hadoop.fs.s3a.access.key and .secret.key"
            .into();
    }
    let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = said.chars().take(SAID).collect::<String>();
    match error {
        Store::NotFound { .. } => "there is no such file".into(),
        Store::Unauthenticated { .. } | Store::PermissionDenied { .. } => {
            format!("access was refused; look at the credentials ({said})")
        }
        _ => said,
    }
}

/// The path of a listed file in its store.
pub fn path_of(address: &str) -> Result<Path> {
    let url =
        url::Url::parse(address).map_err(|e| Error::Invalid(format!("{address:?} is no address: {e}")))?;
    Path::from_url_path(url.path()).map_err(|e| Error::Invalid(format!("{address:?} is no path: {e}")))
}

/// The values that the folders of a listed file give to the columns `names`.
pub fn folder_values(address: &str, names: &[String]) -> Result<Vec<String>> {
    let path = path_of(address)?;
    let all = folders(&Path::default(), &path);
    let value =
        |name: &String| all.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    names
        .iter()
        .map(|name| {
            value(name).ok_or_else(|| Error::Invalid(format!("{address} lies in no folder {name}=…")))
        })
        .collect()
}

fn location(base: &str, path: &Path) -> Result<String> {
    let mut url =
        url::Url::parse(base).map_err(|e| Error::Invalid(format!("{base:?} is no address: {e}")))?;
    // A percent sign in a name is one: Spark writes `10%3A30` where a folder's value is `10:30`.
    url.set_path(&path.as_ref().replace('%', "%25"));
    Ok(url.into())
}

/// What lies at an address, without what Spark and others leave beside their data (`_SUCCESS`, `.crc`).
async fn objects(
    store: &Arc<dyn ObjectStore>,
    url: &ListingTableUrl,
    pattern: Option<&Pattern>,
    address: &str,
) -> Result<Vec<ObjectMeta>> {
    let failed =
        |error: object_store::Error| Error::Unreachable(format!("{address} cannot be read: {}", why(&error)));
    if !url.is_collection() {
        match store.head(url.prefix()).await {
            Ok(meta) => return Ok(vec![meta]),
            // A folder may be named without its slash.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let mut found = Vec::new();
    let mut listed = store.list(Some(url.prefix()));
    while let Some(meta) = listed.try_next().await.map_err(failed)? {
        let Some(below) = meta.location.prefix_match(url.prefix()) else { continue };
        let parts: Vec<_> = below.collect();
        let hidden = parts.iter().any(|part| {
            part.as_ref().starts_with('.') || part.as_ref().starts_with('_') && !part.as_ref().contains('=')
        });
        let matches = pattern.is_none_or(|pattern| matches(pattern, &parts));
        if !hidden && matches && meta.size > 0 {
            found.push(meta);
        }
        if found.len() > FILES {
            break;
        }
    }
    Ok(found)
}

/// The part of an address before its first name with a `*`, `?` or `[`, and the pattern from there on.
fn split_pattern(address: &str) -> Result<(ListingTableUrl, Option<Pattern>)> {
    let wrong = |reason: String| Error::Invalid(format!("{address:?} names no files: {reason}"));
    let (base, pattern) = match address.find(['*', '?', '[']) {
        // In an address of HTTP a question mark begins a query.
        Some(at) if !address.starts_with("http") => {
            let from = address[..at].rfind('/').map_or(0, |slash| slash + 1);
            let pattern = Pattern::new(&address[from..]).map_err(|e| wrong(e.to_string()))?;
            (if from == 0 { "." } else { &address[..from] }, Some(pattern))
        }
        _ => (address, None),
    };
    let url = ListingTableUrl::parse(base).map_err(|e| wrong(e.strip_backtrace()))?;
    Ok((url, pattern))
}

/// Whether the pattern names the file, or a folder that it lies in. A `*` stays within one name, `**` does not.
fn matches(pattern: &Pattern, parts: &[PathPart]) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
    let mut path = String::new();
    parts.iter().any(|part| {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part.as_ref());
        pattern.matches_with(&path, options)
    })
}

/// `day=2026-01-01/part-0.parquet`: the columns that folders below `prefix` name, and their values.
fn folders(prefix: &Path, location: &Path) -> Vec<(String, String)> {
    let Some(below) = location.prefix_match(prefix) else { return Vec::new() };
    let parts: Vec<_> = below.collect();
    let folders = parts.split_last().map_or(&[][..], |(_, folders)| folders);
    folders
        .iter()
        .filter_map(|part| part.as_ref().split_once('='))
        .map(|(name, value)| (unescaped(name), unescaped(value)))
        .collect()
}

/// As Hive and Spark escape what a name cannot hold.
fn unescaped(name: &str) -> String {
    percent_decode_str(name).decode_utf8_lossy().into_owned()
}

fn by_ending(address: &str) -> Result<FileFormat> {
    let name = address.rsplit('/').next().unwrap_or(address);
    match name.rsplit('.').next().unwrap_or("").to_ascii_lowercase().as_str() {
        "parquet" | "parq" | "pq" => Ok(FileFormat::Parquet),
        "csv" => Ok(FileFormat::Csv),
        "json" | "jsonl" | "ndjson" => Ok(FileFormat::Json),
        "arrow" | "ipc" | "feather" => Ok(FileFormat::Arrow),
        _ => Err(Error::Invalid(format!(
            "the name of {address} does not end in .parquet, .csv, .json or .arrow: give format="
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_without_their_quotes() {
        assert_eq!(bare("\"0x8D\""), "0x8D");
        assert_eq!(bare("W/\"0x8D\""), bare("0x8D"));
        assert_ne!(bare("\"0x8D\""), bare("0x8E"));
    }

    #[test]
    fn what_a_store_says_is_short_and_has_a_remedy() {
        let generic = |text: String| object_store::Error::Generic { store: "S3", source: text.into() };
        let page = why(&generic(format!("<html>\n{}</html>", "<p>sorry</p>\n".repeat(1000))));
        assert!(page.len() < 2 * SAID && !page.contains('\n'), "{page}");
        let none =
            why(&generic("error sending request for url (http://169.254.169.254/latest/api/token)".into()));
        assert!(none.starts_with("no credentials were found: set AWS_ACCESS_KEY_ID"), "{none}");
        let (path, source) = (String::new(), "404".into());
        assert_eq!(why(&object_store::Error::NotFound { path, source }), "there is no such file");
    }

    fn named(address: &str, path: &str) -> bool {
        let (url, pattern) = split_pattern(address).unwrap();
        let path = Path::from(path);
        let Some(below) = path.prefix_match(url.prefix()) else { return false };
        pattern.is_none_or(|pattern| matches(&pattern, &below.collect::<Vec<_>>()))
    }

    #[test]
    fn patterns_name_files_and_folders_in_any_store() {
        for base in ["s3://bucket", "gs://bucket", "file://", ""] {
            let address = |pattern: &str| format!("{base}/data/{pattern}");
            assert!(named(&address("*.parquet"), "data/a.parquet"), "{base}");
            assert!(!named(&address("*.parquet"), "data/b/a.parquet"), "{base}");
            assert!(named(&address("*/*.parquet"), "data/day=1/a.parquet"), "{base}");
            assert!(named(&address("**/*.parquet"), "data/day=1/hour=2/a.parquet"), "{base}");
            assert!(named(&address("day=*"), "data/day=1/a.parquet"), "{base}");
            assert!(!named(&address("day=[2-9]"), "data/day=1/a.parquet"), "{base}");
        }
        assert!(named("https://host/data/a.parquet?version=1", "data/a.parquet"));
        assert!(split_pattern("s3://bucket/[a").is_err());
    }

    #[test]
    fn folders_give_columns() {
        let of = |path: &str| folders(&Path::from("data"), &Path::from(path));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(of("data/day=1/x/hour=2/a=b.csv"), [pair("day", "1"), pair("hour", "2")]);
        assert!(of("data/a.csv").is_empty());
        let names = ["day".to_owned()];
        assert_eq!(folder_values("s3://b/data/day=7/a.csv", &names).unwrap(), ["7"]);
        assert!(folder_values("s3://b/data/a.csv", &names).is_err());
        // What Spark has escaped, in any store, is found again by its address and read as it was.
        for base in ["s3://b", "file://", "hdfs://h:1"] {
            let path = Path::parse("data/day=10%3A30/x y#.csv").unwrap();
            let address = location(base, &path).unwrap();
            assert_eq!(path_of(&address).unwrap(), path, "{address}");
            assert_eq!(folder_values(&address, &names).unwrap(), ["10:30"]);
        }
    }
}
