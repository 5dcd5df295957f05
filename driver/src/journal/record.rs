//! What records say.

use lethe_flight::message::experiment::Plan;
use lethe_flight::{Error, Result, VERSION};
use serde::{Deserialize, Serialize};

/// Of the journal; another number is another format.
pub const FORMAT: u32 = 1;

/// The journal's first record.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Of the driver that began the journal.
    pub version: String,
    pub plan: Plan,
}

impl Header {
    pub fn new(plan: &Plan) -> Self {
        Self { version: VERSION.into(), plan: journalled(plan) }
    }
}

/// Any other record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<E> {
    /// When it was decided, milliseconds since 1970.
    pub at: u64,
    pub entry: Entry<E>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Entry<E> {
    Event(E),
    /// A driver goes on, under this plan.
    Resumed(Box<Plan>),
}

/// A store's options hold secrets, which have no place in a file that is kept and copied.
fn journalled(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    if let Some(store) = &mut plan.store {
        store.options.clear();
    }
    plan
}

#[derive(Serialize)]
pub struct HeaderLine<'a> {
    lethe: &'static str,
    format: u32,
    version: &'a str,
    plan: &'a Plan,
}

impl<'a> From<&'a Header> for HeaderLine<'a> {
    fn from(header: &'a Header) -> Self {
        Self { lethe: "journal", format: FORMAT, version: &header.version, plan: &header.plan }
    }
}

#[derive(Serialize)]
pub struct EventLine<'a, E> {
    pub at: u64,
    pub event: &'a E,
}

#[derive(Serialize)]
pub struct ResumedLine {
    at: u64,
    resumed: Resumed,
}

#[derive(Serialize, Deserialize)]
struct Resumed {
    plan: Plan,
}

impl ResumedLine {
    pub fn new(at: u64, plan: &Plan) -> Self {
        Self { at, resumed: Resumed { plan: journalled(plan) } }
    }
}

#[derive(Deserialize)]
struct Probe {
    lethe: String,
    format: u32,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Planned {
    version: String,
    plan: Plan,
}

/// # Errors
/// If it is not a journal's first record, or that of a format which this version does not know.
pub fn header(json: &[u8], name: &str) -> Result<Header> {
    let alien = |error| Error::Precondition(format!("{name} is not a journal of Lethe: {error}"));
    let probe: Probe = serde_json::from_slice(json).map_err(|e| alien(e.to_string()))?;
    if probe.lethe != "journal" {
        return Err(alien(format!("its first record names {:?}", probe.lethe)));
    }
    if probe.format != FORMAT {
        return Err(Error::Precondition(format!(
            "{name} is a journal of format {}, written by Lethe {}; this is Lethe {VERSION}, which reads format \
             {FORMAT}: go on with the version that wrote it, or a newer one",
            probe.format, probe.version
        )));
    }
    let Planned { version, plan } = serde_json::from_slice(json).map_err(|e| alien(e.to_string()))?;
    Ok(Header { version, plan })
}

#[derive(Deserialize)]
struct AnyLine<E> {
    at: u64,
    event: Option<E>,
    resumed: Option<Resumed>,
}

pub fn record<E: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<Record<E>, serde_json::Error> {
    let AnyLine { at, event, resumed } = serde_json::from_slice(json)?;
    let entry = match (event, resumed) {
        (Some(event), None) => Entry::Event(event),
        (None, Some(resumed)) => Entry::Resumed(Box::new(resumed.plan)),
        _ => return Err(serde::de::Error::custom("neither an event nor a resumption")),
    };
    Ok(Record { at, entry })
}
