//! Files in a store, and which stores there are.

use super::*;
use crate::journal::Mirror;

#[tokio::test]
async fn files_come_back_as_they_went_also_large_ones() {
    let (here, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mirror = Mirror::open(&file_store(&bucket.path().join("a b/run"))).unwrap();
    let (file, back) = (here.path().join("3.arrow"), here.path().join("back.arrow"));
    // 0 bytes, one part, several parts.
    for length in [0, 1000, (20 << 20) + 7] {
        let bytes: Vec<u8> = (0..length).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&file, &bytes).unwrap();
        mirror.put_file(&file, "checkpoints/3-1-9.arrow").await.unwrap();
        assert!(mirror.get_file("checkpoints/3-1-9.arrow", &back).await.unwrap());
        assert!(std::fs::read(&back).unwrap() == bytes, "{length} bytes");
    }
    assert!(bucket.path().join("a b/run/checkpoints/3-1-9.arrow").is_file());
    for _ in 0..2 {
        mirror.remove_file("checkpoints/3-1-9.arrow").await.unwrap();
    }
    assert!(!mirror.get_file("checkpoints/3-1-9.arrow", &back).await.unwrap());
    let left: Vec<_> = std::fs::read_dir(here.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no partial files: {left:?}");
}

#[tokio::test]
async fn names_that_leave_the_folder_are_refused() {
    let bucket = tempfile::tempdir().unwrap();
    let mirror = Mirror::open(&file_store(bucket.path())).unwrap();
    let file = bucket.path().join("x");
    std::fs::write(&file, "x").unwrap();
    for name in ["", "/", "../x", "a/../../x", "/etc/x", "a//x", "a/./x", "a/x/"] {
        assert!(mirror.put_file(&file, name).await.is_err(), "{name:?}");
    }
}

#[test]
fn an_address_or_option_that_no_store_knows_is_refused_in_words() {
    let open = |url: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Mirror::open(&Store { url: url.into(), options }).map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(open("runs/digits", &[]).unwrap_err().contains("s3://bucket/folder"));
    assert!(open("ftp://host/x", &[]).unwrap_err().contains("ftp://host/x"));
    assert!(open("s3://bucket/x", &[("aws_endpiont", "http://h:1")]).unwrap_err().contains("aws_endpiont"));
    assert!(open("s3://key:hush@bucket/x", &[]).unwrap_err().contains("password"));
    let options = [("aws_endpoint", "http://127.0.0.1:1"), ("AWS_REGION", "eu-west-1"), ("timeout", "5s")];
    open("s3://bucket/x", &options).unwrap();
    open("gs://bucket/x", &[("google_skip_signature", "true")]).unwrap();
    open("az://container/x", &[("azure_storage_account_name", "a"), ("azure_skip_signature", "true")])
        .unwrap();
}
