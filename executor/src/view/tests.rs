//! Views of real partitions and files, built and read back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::{Float64Type, Int32Type};
use lethe_flight::message::dataset::{
    DataSpec, Dtype, Files, Input, Label, LabelKind, LocalShard, Order, Part, Piece, Split, View,
};
use lethe_flight::wire::RowRange;
use lethe_flight::{Result, ipc};
use lethe_view::{Labels, MappedView};

use super::build::{Built, build};
use super::source::{of_partitions, of_pieces};
use crate::disk::Disk;

const MEMORY: usize = 64 << 20;
const CITIES: [&str; 3] = ["Oslo", "Bern", "Rome"];

pub fn input(name: &str, columns: &[&str], dtype: Option<Dtype>) -> Input {
    Input {
        name: name.into(),
        columns: columns.iter().map(|&c| c.into()).collect(),
        dtype,
        shape: None,
        normalize: Vec::new(),
    }
}

fn data(features: &[&str], label: Option<(&str, LabelKind)>) -> DataSpec {
    DataSpec {
        dataset: "d".into(),
        queries: Vec::new(),
        inputs: vec![input("features", features, Some(Dtype::Float32))],
        label: label.map(|(column, kind)| Label { column: column.into(), kind }),
        weight: None,
        key: None,
        split: Some(Split::Random { validation: 0.4, test: 0.0, seed: 3 }),
        order: Order::default(),
        without: Vec::new(),
        local: None,
    }
}

/// `a` = row, `xs` = [row + ¼, row + ½], `y` = row % 10, `city` one of three, `image` 2 × 3.
fn rows(rows: std::ops::Range<i32>) -> RecordBatch {
    let list = rows.clone().map(|r| Some(vec![Some(f64::from(r) + 0.25), Some(f64::from(r) + 0.5)]));
    let mut image =
        arrow::array::ListBuilder::new(arrow::array::ListBuilder::new(arrow::array::UInt8Builder::new()));
    for row in rows.clone() {
        for line in 0..2 {
            (0..3).for_each(|x| image.values().values().append_value((row + line * 3 + x) as u8));
            image.values().append(true);
        }
        image.append(true);
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Int32Array::from_iter_values(rows.clone()))),
        ("xs", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(list))),
        ("y", Arc::new(Int64Array::from_iter_values(rows.clone().map(|r| i64::from(r % 10))))),
        ("city", Arc::new(StringArray::from_iter_values(rows.clone().map(|r| CITIES[r as usize % 3])))),
        ("image", Arc::new(image.finish())),
        ("day", Arc::new(Date32Array::from_iter_values(rows.clone()))),
        ("key", Arc::new(Int32Array::from_iter_values(rows.clone().map(|r| 1000 - r)))),
        ("holes", Arc::new(Float64Array::from_iter(rows.clone().map(|r| (r % 50 != 7).then_some(1.0))))),
        (
            // A null in the first row, and one later.
            "null_arrays",
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(
                rows.clone().map(|r| (r != 0 && r != 77).then(|| vec![Some(1.0); 64])),
            )),
        ),
        (
            "ragged",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
                rows.map(|r| Some(vec![Some(1); 1 + usize::from(r == 120)])),
            )),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Two partitions of 100 and 50 rows.
fn partitions(folder: &Path) -> Vec<PathBuf> {
    [("0.arrow", 0..100), ("1.arrow", 100..150)]
        .map(|(name, range)| {
            let batch = rows(range);
            let path = folder.join(name);
            // Sliced: batches whose offsets do not begin at 0 are as common as those whose do.
            let pieces = [batch.slice(0, 30), batch.slice(30, batch.num_rows() - 30)];
            ipc::write_file(&path, &batch.schema(), pieces.into_iter(), u64::MAX).unwrap();
            path
        })
        .to_vec()
}

fn disk(folder: &Path) -> Arc<Disk> {
    Disk::new(folder, None)
}

async fn built(data: &DataSpec) -> Result<(Built, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let table = of_partitions("d", partitions(folder.path()))?;
    let built =
        build(table, data.clone(), folder.path().join("v.view"), MEMORY, &disk(folder.path())).await?;
    Ok((built, folder))
}

fn floats(view: &MappedView, input: usize) -> Vec<f32> {
    let bytes = view.section(&view.view().inputs[input]);
    bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[tokio::test]
async fn scalars_and_arrays_become_rows_in_the_order_of_the_partitions() {
    let spec = data(&["xs", "a"], Some(("y", LabelKind::Class)));
    let (built, _folder) = built(&spec).await.unwrap();
    let view = MappedView::open(&built.view).unwrap();
    let expected: Vec<f32> = (0..150).map(|r| r as f32).flat_map(|r| [r + 0.25, r + 0.5, r]).collect();
    assert_eq!(floats(&view, 0), expected);
    let Some(Labels::Class(labels)) = view.labels() else { panic!("{:?}", view.labels()) };
    assert_eq!(labels, (0..150).map(|r| r % 10).collect::<Vec<_>>());
    assert_eq!((view.train().len(), view.validation().len()), (90, 60));
    let mut all = [view.train(), view.validation()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..150).collect::<Vec<_>>());
    assert!(view.train().is_sorted() && view.validation().is_sorted());
    let View { inputs, label, split_offset, .. } = &built.view;
    assert!([inputs[0].offset, label.as_ref().unwrap().offset, *split_offset].iter().all(|o| o % 64 == 0));
}
#[tokio::test]
async fn named_inputs_keep_their_types_and_shapes() {
    let mut spec = data(&[], Some(("city", LabelKind::Class)));
    spec.inputs = vec![
        input("image", &["image"], None),
        input("city", &["city"], None),
        input("facts", &["a", "xs"], None),
    ];
    let (built, _folder) = built(&spec).await.unwrap();
    let view = MappedView::open(&built.view).unwrap();
    let kinds: Vec<_> = built.view.inputs.iter().map(|i| (i.dtype, i.shape.clone())).collect();
    assert_eq!(kinds, [(Dtype::Uint8, vec![2, 3]), (Dtype::Int64, vec![1]), (Dtype::Float32, vec![3])]);
    assert_eq!(view.section(&built.view.inputs[0])[6 * 7..][..6], [7, 8, 9, 10, 11, 12]);
    // Bern, Oslo, Rome in the order of the strings; rows say Oslo, Bern, Rome.
    let Some(Labels::Class(labels)) = view.labels() else { panic!("{:?}", view.labels()) };
    assert_eq!(labels[..4], [1, 0, 2, 1]);
    let cities = view.section(&built.view.inputs[1]);
    assert_eq!(cities[..24], [1i64, 0, 2].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>()[..]);
}

#[tokio::test]
async fn queries_filter_and_compute_and_rows_keep_their_order() {
    let mut spec = data(&["a", "twice"], None);
    spec.queries = vec![
        "select *, a * 2 as twice from dataset where a % 3 = 0".into(),
        "select * from dataset where a > 10".into(),
    ];
    let (built, _folder) = built(&spec).await.unwrap();
    let view = MappedView::open(&built.view).unwrap();
    let expected: Vec<f32> =
        (11..150).filter(|r| r % 3 == 0).flat_map(|r| [r as f32, 2.0 * r as f32]).collect();
    assert_eq!(floats(&view, 0), expected);
}

#[tokio::test]
async fn aggregates_see_all_partitions() {
    let mut spec = data(&["n", "most"], None);
    spec.queries = vec![
        "select y, cast(count(*) as float) as n, max(a) as most from dataset group by y order by y".into(),
    ];
    let (built, _folder) = built(&spec).await.unwrap();
    let view = MappedView::open(&built.view).unwrap();
    let expected: Vec<f32> = (0..10).flat_map(|y| [15.0, 140.0 + y as f32]).collect();
    assert_eq!(floats(&view, 0), expected);
}

#[tokio::test]
async fn a_key_numbers_rows_whatever_their_partitions() {
    let mut spec = data(&["a"], None);
    spec.key = Some("key".into());
    let (built_keyed, _folder) = built(&spec).await.unwrap();
    let keyed = MappedView::open(&built_keyed.view).unwrap();
    let of = |view: &MappedView, part: Part| -> Vec<f32> {
        let all = floats(view, 0);
        view.part(part).iter().map(|&place| all[place as usize]).collect()
    };
    let order = of(&keyed, Part::Validation);
    assert!(order.is_sorted_by(|a, b| a > b), "the key falls where a rises: {order:?}");
    // The same rows in other partitions.
    let folder = tempfile::tempdir().unwrap();
    let mut paths = partitions(folder.path());
    paths.reverse();
    let table = of_partitions("d", paths).unwrap();
    let other =
        build(table, spec.clone(), folder.path().join("v.view"), MEMORY, &disk(folder.path())).await.unwrap();
    let other = MappedView::open(&other.view).unwrap();
    for part in [Part::Train, Part::Validation] {
        assert_eq!(of(&other, part), of(&keyed, part));
    }
    spec.key = Some("y".into());
    let twice = built(&spec).await.err().unwrap().to_string();
    assert!(twice.starts_with("the key \"y\" has 140 repeated values"), "{twice}");
}

#[tokio::test]
async fn elements_are_normalized_by_the_training_rows_alone() {
    let mut spec = data(&["xs", "a"], None);
    spec.inputs[0].normalize = vec!["xs".into()];
    let (built, _folder) = built(&spec).await.unwrap();
    let view = MappedView::open(&built.view).unwrap();
    let values = floats(&view, 0);
    let train: Vec<f64> = view.train().iter().map(|&row| f64::from(row) + 0.25).collect();
    let mean = train.iter().sum::<f64>() / train.len() as f64;
    let deviation = (train.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / train.len() as f64).sqrt();
    for row in 0..150 {
        let expected = (row as f64 + 0.25 - mean) / deviation;
        assert!((f64::from(values[row * 3]) - expected).abs() < 1e-6, "{row}");
        assert_eq!(values[row * 3 + 2], row as f32, "a stays as it is");
    }
    let batches = built.learned.batches().unwrap();
    assert_eq!(batches[0].num_rows(), 4, "mean and deviation of two elements");
}

async fn refused(spec: &DataSpec) -> String {
    built(spec).await.err().unwrap().to_string()
}

#[tokio::test]
async fn what_cannot_be_trained_on_is_named() {
    let class = |column| Some((column, LabelKind::Class));
    let nulls = refused(&data(&["a", "holes"], class("y"))).await;
    assert!(nulls.starts_with("column \"holes\" has 3 nulls"), "{nulls}");
    let arrays = refused(&data(&["null_arrays"], class("y"))).await;
    assert!(arrays.starts_with("column \"null_arrays\" has 2 nulls"), "{arrays}");
    let missing = refused(&data(&["b"], None)).await;
    assert!(missing.contains('b') && missing.contains("null_arrays"), "{missing}");
    let day = refused(&data(&["day"], None)).await;
    assert!(day.starts_with("column \"day\" has type Date32") && day.contains("dates="), "{day}");
    let label = refused(&data(&["a"], class("holes"))).await;
    assert!(label.starts_with("label \"holes\" has type Float64"), "{label}");
    let ragged = refused(&data(&["ragged"], None)).await;
    assert!(ragged.contains("arrays of different lengths"), "{ragged}");
    let mut none = data(&["a"], None);
    none.queries = vec!["select * from dataset where a < 0".into()];
    let none = refused(&none).await;
    assert!(none.contains("has no rows"), "{none}");
}

#[tokio::test]
async fn queries_that_answer_otherwise_each_time_or_ask_elsewhere_are_refused() {
    for (query, word) in [
        ("select *, random() as r from dataset", "random()"),
        ("select * from dataset where now() > to_timestamp(0)", "now()"),
        ("select * from other", "there is only dataset"),
        ("drop table dataset", "not one SELECT"),
        ("select nothing from dataset", "nothing"),
        ("select * from dataset; select 1", "select"),
    ] {
        let mut spec = data(&["a"], None);
        spec.queries = vec![query.into()];
        let error = refused(&spec).await;
        assert!(error.contains(word), "{query}: {error}");
    }
}

#[tokio::test]
async fn a_view_that_failed_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let table = of_partitions("d", partitions(folder.path())).unwrap();
    let path = folder.path().join("v.view");
    let disk = disk(folder.path());
    assert!(build(table, data(&["holes"], None), path, MEMORY, &disk).await.is_err());
    assert_eq!(disk.used(), 0);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left.len(), 2, "the two partitions and nothing else: {left:?}");
}

#[tokio::test]
async fn files_of_each_format_give_the_rows_of_their_paths_order() {
    let folder = tempfile::tempdir().unwrap();
    let batch = rows(0..150);
    let flat = batch.project(&[0, 2, 3]).unwrap();
    for (day, range) in [(2, 0..60usize), (10, 60..150)] {
        let piece = flat.slice(range.start, range.len());
        for format in ["parquet", "csv", "json", "arrow"] {
            let place = folder.path().join(format).join(format!("day={day}"));
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("_SUCCESS"), "").unwrap();
            let path = place.join(format!("part.{format}"));
            let file = || std::fs::File::create(&path).unwrap();
            match format {
                "parquet" => {
                    let properties = parquet::file::properties::WriterProperties::builder()
                        .set_max_row_group_row_count(Some(16))
                        .build();
                    let mut out =
                        parquet::arrow::ArrowWriter::try_new(file(), piece.schema(), Some(properties))
                            .unwrap();
                    out.write(&piece).unwrap();
                    out.close().unwrap();
                }
                "csv" => {
                    let lines = range.clone().map(|r| format!("{r},{},{}", r % 10, CITIES[r % 3]));
                    let lines: Vec<_> = std::iter::once("a,y,city".to_owned()).chain(lines).collect();
                    std::fs::write(&path, lines.join("\n")).unwrap();
                }
                "json" => {
                    let line =
                        |r: usize| format!(r#"{{"a": {r}, "y": {}, "city": "{}"}}"#, r % 10, CITIES[r % 3]);
                    std::fs::write(&path, range.clone().map(line).collect::<Vec<_>>().join("\n")).unwrap();
                }
                _ => {
                    _ = ipc::write_file(&path, &piece.schema(), [piece.clone()].into_iter(), u64::MAX)
                        .unwrap()
                }
            }
        }
    }
    for format in ["parquet", "csv", "json", "arrow"] {
        let urls = vec![format!("{}/{format}/", folder.path().display())];
        let files = Files { urls, format: None, options: BTreeMap::new() };
        let listed = lethe_data::listing::list(&files).await.unwrap();
        assert_eq!(listed.folders, ["day"]);
        assert_eq!(listed.files.len(), 2);
        let table = lethe_data::table::FilesTable::open(&listed).await.unwrap();
        let mut spec = data(&["a", "day", "city"], Some(("y", LabelKind::Class)));
        spec.queries = vec!["select * from dataset where a >= 5".into()];
        let table = lethe_data::table::Table::Files(Arc::new(table));
        let built =
            build(table, spec, folder.path().join(format!("{format}.view")), MEMORY, &disk(folder.path()))
                .await
                .unwrap();
        let view = MappedView::open(&built.view).unwrap();
        // day=10 sorts before day=2.
        let order = (60..150).chain(5..60);
        let number = |city: i32| [1.0, 0.0, 2.0][city as usize % 3];
        let day = |r: i32| if r < 60 { 2.0 } else { 10.0 };
        let expected: Vec<f32> = order.flat_map(|r| [r as f32, day(r), number(r)]).collect();
        assert_eq!(floats(&view, 0), expected, "{format}");
    }
}

#[tokio::test]
async fn rows_are_gathered_without_columns_that_are_in_the_file() {
    let spec = data(&["xs", "a", "y"], None);
    let (built, _folder) = built(&spec).await.unwrap();
    let left = built.without(&["a".to_owned()]).unwrap();
    assert_eq!((&left.path, &left.inputs[0].shape), (&built.view.path, &vec![3]), "no further file");
    let view = MappedView::open(&left).unwrap();
    let mut out = vec![0; 2 * 3 * 4];
    view.gather(&left.inputs[0], &[147, 2], &mut out);
    let found: Vec<f32> = out.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(found, [147.25, 147.5, 7.0, 2.25, 2.5, 2.0]);
    assert_eq!(built.without(&[]).unwrap(), built.view);
    let refused = |columns: &[&str]| {
        let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
        built.without(&columns).unwrap_err().to_string()
    };
    assert_eq!(refused(&["city"]), "column \"city\" cannot be left out: it is no feature");
    assert_eq!(refused(&["y", "a", "xs"]), "no feature is left: leave out fewer columns");
}

/// The view of a rank's rows, of 150 in two partitions.
async fn built_of(data: &DataSpec, shard: LocalShard) -> Result<(Built, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let files = partitions(folder.path());
    let own = shard.shards[shard.rank as usize].iter();
    let pieces = own.map(|&Piece { partition, start, rows }| {
        (files[partition as usize].clone(), RowRange { start, rows })
    });
    let table = of_pieces("d", pieces.collect())?;
    let data = DataSpec { local: Some(shard), ..data.clone() };
    let path = folder.path().join("v.view");
    Ok((build(table, data, path, MEMORY, &disk(folder.path())).await?, folder))
}

fn piece(partition: u32, start: u64, rows: u64) -> Piece {
    Piece { partition, start, rows }
}

#[tokio::test]
async fn ranks_with_rows_of_their_own_have_together_those_of_a_view_of_all() {
    let mut spec = data(&["a"], Some(("y", LabelKind::Class)));
    spec.split = Some(Split::Random { validation: 0.2, test: 0.1, seed: 3 });
    let (whole, _folder) = built(&spec).await.unwrap();
    let whole = MappedView::open(&whole.view).unwrap();
    // Of the column `a`, which is the row's number.
    let numbers = |view: &MappedView, rows: &[u32]| -> Vec<u32> {
        let all = floats(view, 0);
        rows.iter().map(|&row| all[row as usize] as u32).collect()
    };
    let shards = vec![
        vec![piece(0, 40, 10), piece(1, 0, 40)],
        vec![piece(0, 0, 40), piece(0, 90, 10)],
        vec![piece(0, 50, 40), piece(1, 40, 10)],
    ];
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for rank in 0..3 {
        let shard = LocalShard { rank, partitions: vec![100, 50], shards: shards.clone() };
        let (own, _folder) = built_of(&spec, shard).await.unwrap();
        let own = MappedView::open(&own.view).unwrap();
        assert_eq!(own.rows(), 50);
        let rows = own.local().unwrap();
        assert_eq!(rows.train[rank as usize], own.train().len() as u64);
        assert_eq!(rows.train.iter().sum::<u64>(), whole.train().len() as u64);
        assert_eq!(rows.validation.iter().sum::<u64>(), whole.validation().len() as u64);
        for (all, part) in all.iter_mut().zip([Part::Train, Part::Validation, Part::Test]) {
            all.extend(numbers(&own, own.part(part)));
        }
    }
    for (mut found, part) in all.into_iter().zip([Part::Train, Part::Validation, Part::Test]) {
        found.sort_unstable();
        assert_eq!(found, numbers(&whole, whole.part(part)), "{part:?}");
    }
}

#[tokio::test]
async fn what_needs_all_rows_is_refused_where_a_rank_has_its_own() {
    let shard = LocalShard {
        rank: 0,
        partitions: vec![100, 50],
        shards: vec![vec![piece(0, 0, 75)], vec![piece(0, 75, 25), piece(1, 0, 50)]],
    };
    let refused = async |change: &dyn Fn(&mut DataSpec)| {
        let mut spec = data(&["a"], Some(("y", LabelKind::Class)));
        change(&mut spec);
        match built_of(&spec, shard.clone()).await {
            Ok(_) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(refused(&|_| ()).await, "nothing");
    let error = refused(&|spec| spec.inputs[0].columns.push("city".into())).await;
    assert!(error.starts_with("order=\"local\": the dataset has columns of strings"), "{error}");
    let error = refused(&|spec| spec.inputs[0].normalize.push("a".into())).await;
    assert!(error.contains("normalizes columns"), "{error}");
    let error = refused(&|spec| spec.key = Some("key".into())).await;
    assert!(error.contains("by a key"), "{error}");
    let by = Split::Time { column: "day".into(), validation: 0.2, test: 0.0 };
    let error = refused(&|spec| spec.split = Some(by.clone())).await;
    assert!(error.contains("is split by a column"), "{error}");
    let query = |text: &'static str| move |spec: &mut DataSpec| spec.queries.push(text.into());
    assert_eq!(refused(&query("select a + 1 as a, y from dataset")).await, "nothing");
    let error = refused(&query("select * from dataset where a > 5")).await;
    assert!(error.contains("leave out rows"), "{error}");
    let error = refused(&query("select * from dataset order by a desc")).await;
    assert!(error.contains("leave out rows or gather them"), "{error}");
}
