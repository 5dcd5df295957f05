//! A view's file under construction: rows are appended section by section, however many come.
//!
//! The input with the longest rows is written in its place at once; the other sections are written beside the file
//! and appended at the end, when it is known where they begin.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};

use lethe_data::encode::Encoded;
use lethe_data::layout::Layout;
use lethe_flight::message::dataset::{Dtype, LabelKind, Section};
use lethe_flight::{Error, Result, ipc};

use crate::disk::Space;

/// Sections begin at multiples of this, a cache line and what SIMD loads like.
const ALIGN: u64 = 64;
/// Room is asked for in steps of so many bytes.
const STEP: u64 = 64 << 20;

pub struct Writer {
    unfinished: ipc::Unfinished,
    path: PathBuf,
    /// The number of the section that is written in place.
    first: usize,
    sections: Vec<Growing>,
    rows: u64,
    space: Space,
    /// Bytes of the space that are not written yet.
    room: u64,
}

/// A section that grows: the inputs in their order, then label and weight.
struct Growing {
    section: Section,
    file: BufWriter<File>,
    path: PathBuf,
    /// Removes its file; the one in place has the view's own.
    _beside: Option<ipc::Unfinished>,
}

/// Where the sections lie in the finished file.
pub struct Sections {
    pub rows: u64,
    pub inputs: Vec<Section>,
    pub label: Option<Section>,
    pub weight: Option<Section>,
}

impl Writer {
    /// `space` grows with the file.
    pub fn create(path: &Path, layout: &Layout, space: Space) -> Result<Self> {
        let label = layout.label.map(|label| match label.kind {
            LabelKind::Class => scalar("label", Dtype::Int64),
            LabelKind::Value => scalar("label", Dtype::Float32),
        });
        let weight = layout.weight.map(|_| scalar("weight", Dtype::Float32));
        let inputs = layout.inputs.iter().map(|input| input.section.clone());
        let all: Vec<_> = inputs.chain(label).chain(weight).collect();
        let longest = all.iter().enumerate().max_by_key(|(n, section)| (section.row_bytes(), usize::MAX - n));
        let first = longest.map_or(0, |(n, _)| n);
        let unfinished = ipc::Unfinished::beside(path);
        let mut sections = Vec::with_capacity(all.len());
        for (n, section) in all.into_iter().enumerate() {
            let beside = (n != first).then(|| ipc::Unfinished::beside(path));
            let path = beside.as_ref().map_or(unfinished.path(), |beside| beside.path()).to_owned();
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
            let file = BufWriter::with_capacity(1 << 20, file.map_err(|e| Error::file(&path, e))?);
            sections.push(Growing { section, file, path, _beside: beside });
        }
        Ok(Self { unfinished, path: path.into(), first, sections, rows: 0, space, room: 0 })
    }

    pub fn append(&mut self, rows: &Encoded) -> Result<()> {
        let buffers = || rows.inputs.iter().chain(&rows.label).chain(&rows.weight);
        // And its row numbers.
        let bytes = buffers().map(|buffer| buffer.len() as u64).sum::<u64>() + 4 * rows.rows as u64;
        if bytes > self.room {
            let more = bytes.max(STEP);
            // Near the end of the disk or its budget there is no room for a whole step.
            let got =
                self.space.grow(more).map(|()| more).or_else(|_| self.space.grow(bytes).map(|()| bytes))?;
            self.room += got;
        }
        self.room -= bytes;
        for (section, buffer) in self.sections.iter_mut().zip(buffers()) {
            section.file.write_all(buffer).map_err(|e| failed(&section.path, e))?;
        }
        self.rows += rows.rows as u64;
        Ok(())
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Puts all sections into the one file.
    pub fn join(mut self) -> Result<Joined> {
        let rows = self.rows;
        let mut place = self.first;
        let mut main = self.sections.remove(self.first);
        main.file.flush().map_err(|e| failed(&main.path, e))?;
        let mut file = main.file.into_inner().map_err(|e| failed(&main.path, e.into_error()))?;
        let mut end = rows * main.section.row_bytes();
        let mut sections = Vec::with_capacity(self.sections.len() + 1);
        for mut growing in self.sections {
            end = pad(&mut file, end).map_err(|e| failed(&self.path, e))?;
            growing.section.offset = end;
            let mut beside = growing.file.into_inner().map_err(|e| failed(&growing.path, e.into_error()))?;
            beside.rewind().map_err(|e| failed(&growing.path, e))?;
            end += std::io::copy(&mut beside, &mut file).map_err(|e| failed(&self.path, e))?;
            sections.push(growing.section);
        }
        place = place.min(sections.len());
        sections.insert(place, main.section);
        Ok(Joined {
            unfinished: self.unfinished,
            path: self.path,
            file,
            end,
            rows,
            sections,
            space: self.space,
        })
    }
}

/// All rows are in the file; the split is not yet.
pub struct Joined {
    unfinished: ipc::Unfinished,
    path: PathBuf,
    file: File,
    end: u64,
    rows: u64,
    sections: Vec<Section>,
    space: Space,
}

impl Joined {
    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn path(&self) -> &Path {
        self.unfinished.path()
    }

    /// The sections, inputs first.
    pub fn sections(&self, layout: &Layout) -> Sections {
        let mut all = self.sections.iter().cloned();
        let inputs = all.by_ref().take(layout.inputs.len()).collect();
        let label = layout.label.and_then(|_| all.next());
        let weight = layout.weight.and_then(|_| all.next());
        Sections { rows: self.rows, inputs, label, weight }
    }

    /// Appends row numbers and puts the file in its place; returns where they begin.
    pub fn finish(mut self, parts: [&[u32]; 3]) -> Result<(u64, Space)> {
        let offset = pad(&mut self.file, self.end).map_err(|e| failed(&self.path, e))?;
        let mut out = BufWriter::with_capacity(1 << 20, &self.file);
        for row in parts.into_iter().flatten() {
            out.write_all(&row.to_le_bytes()).map_err(|e| failed(&self.path, e))?;
        }
        out.flush().map_err(|e| failed(&self.path, e))?;
        drop(out);
        self.unfinished.finish(&self.path)?;
        self.space.settle(offset + 4 * self.rows);
        Ok((offset, self.space))
    }
}

fn scalar(name: &str, dtype: Dtype) -> Section {
    Section { name: name.into(), dtype, shape: Vec::new(), offset: 0, taken: None }
}

/// Fills the file up to where a section may begin.
fn pad(file: &mut File, end: u64) -> std::io::Result<u64> {
    let next = end.next_multiple_of(ALIGN);
    file.seek(std::io::SeekFrom::Start(end))?;
    file.write_all(&[0; ALIGN as usize][..(next - end) as usize])?;
    Ok(next)
}

/// A full disk is what users can mend.
fn failed(path: &Path, error: std::io::Error) -> Error {
    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        return Error::Exhausted(format!(
            "the disk is full: a view of the data does not fit into {}; free space there, or set spark.local.dir to a \
             larger disk ({error})",
            path.parent().unwrap_or(path).display()
        ));
    }
    Error::file(path, error)
}
