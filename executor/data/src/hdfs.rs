//! HDFS. Its client waits for its servers without limit, and hands on what they say with where in Java it was said;
//! here each answer to a reader has a limit, and what is said is a sentence.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use hdfs_native_object_store::{HdfsObjectStore, HdfsObjectStoreBuilder};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Hadoop's name for how long a server may be silent, in milliseconds.
const OPTION: &str = "dfs.client.socket-timeout";
/// As long as Hadoop's own client waits.
const SILENCE: Duration = Duration::from_secs(60);

/// An HDFS whose answers come within a time.
#[derive(Debug)]
pub struct Hdfs {
    store: HdfsObjectStore,
    silence: Duration,
}

impl Hdfs {
    /// Where the address names a service, or nothing, the options or `$HADOOP_CONF_DIR` say where its namenodes are.
    ///
    /// # Errors
    /// If nothing does.
    pub fn open(address: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let given = options.get(OPTION).and_then(|text| text.parse().ok()).map(Duration::from_millis);
        let store =
            HdfsObjectStoreBuilder::new().with_url(address).with_config(options).build().map_err(plain)?;
        Ok(Self { store, silence: given.unwrap_or(SILENCE) })
    }
}

impl fmt::Display for Hdfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.store, f)
    }
}

#[async_trait]
impl ObjectStore for Hdfs {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        // It takes as long as the payload is, and so does a copy.
        self.store.put_opts(location, payload, options).await.map_err(plain)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        within(self.silence, self.store.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut got = within(self.silence, self.store.get_opts(location, options)).await?;
        got.payload = match got.payload {
            GetResultPayload::Stream(parts) => GetResultPayload::Stream(each_within(self.silence, parts)),
            other => other,
        };
        Ok(got)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        each_within(self.silence, self.store.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        each_within(self.silence, self.store.list(prefix))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        within(self.silence, self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await.map_err(plain)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        within(self.silence, self.store.rename_opts(from, to, options)).await
    }
}

async fn within<T>(silence: Duration, answer: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(silence, answer).await {
        Ok(answer) => answer.map_err(plain),
        Err(_) => Err(silent(silence)),
    }
}

/// The stream ends with the first part that does not come in time.
fn each_within<T: Send + 'static>(
    silence: Duration,
    parts: BoxStream<'static, Result<T>>,
) -> BoxStream<'static, Result<T>> {
    stream::unfold(Some(parts), move |parts| async move {
        let mut parts = parts?;
        match tokio::time::timeout(silence, parts.next()).await {
            Ok(part) => part.map(|part| (part.map_err(plain), Some(parts))),
            Err(_) => Some((Err(silent(silence)), None)),
        }
    })
    .boxed()
}

fn silent(silence: Duration) -> Error {
    generic(format!(
        "no server of HDFS has answered for {silence:?}; look at the namenode and the datanodes, or give \
         options={{{OPTION:?}: …}}, in milliseconds"
    ))
}

fn plain(error: Error) -> Error {
    match error {
        Error::Generic { source, .. } => generic(sentence(&source.to_string())),
        other => other,
    }
}

/// What a server said, without Java's frames and without all that is known about each datanode.
fn sentence(text: &str) -> String {
    let said = text.split("\n\tat ").next().unwrap_or(text);
    let said = said.split(": [DatanodeInfoProto").next().unwrap_or(said);
    if said.contains("AccessControlException") {
        return format!("{said}; HADOOP_USER_NAME says who reads");
    }
    if said.contains("No NameNode hosts found") {
        return format!("{said}: name them in $HADOOP_CONF_DIR or options, or write hdfs://host:port/…");
    }
    said.to_owned()
}

fn generic(said: String) -> Error {
    Error::Generic { store: "HDFS", source: said.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_a_sentence() {
        let refused = "RPC error: org.apache.hadoop.security.AccessControlException Permission denied: user=bob\n\tat \
                       org.apache.hadoop.hdfs.server.namenode.FSNamesystem.getFileInfo(FSNamesystem.java:3820)";
        let said = sentence(refused);
        assert!(said.ends_with("Permission denied: user=bob; HADOOP_USER_NAME says who reads"), "{said}");
        let gone =
            "data transfer error: All DataNodes failed: [DatanodeInfoProto { id: DatanodeIdProto { … } }]";
        assert_eq!(sentence(gone), "data transfer error: All DataNodes failed");
    }

    #[tokio::test]
    async fn silence_ends_an_answer_and_a_stream() {
        let silence = Duration::from_millis(30);
        let answer = within(silence, std::future::pending::<Result<()>>()).await;
        assert!(answer.unwrap_err().to_string().contains("answered for 30ms"));
        let parts = stream::iter([Ok(1)]).chain(stream::pending()).boxed();
        let came: Vec<Result<i32>> = each_within(silence, parts).collect().await;
        assert!(matches!(came.as_slice(), [Ok(1), Err(_)]));
    }
}
