//! The messages, by who speaks.
//!
//! | module | between |
//! |---|---|
//! | [`experiment`] | shim and driver |
//! | [`dataset`] | shim, executors and driver |
//! | [`slot`] | executor and driver, one exchange a slot; Spark task and executor |
//! | [`worker`] | executor and the slot's worker, one exchange a worker |
//! | [`gang`] | a worker and the driver, through its executor |
//! | [`training`] | carried by the others: what a trial is to do, what came of it |

pub mod dataset;
pub mod experiment;
pub mod gang;
pub mod slot;
pub mod training;
pub mod worker;

/// Named values chosen for one trial; ordered by name.
pub type Hparams = serde_json::Map<String, serde_json::Value>;

/// JSON has no NaN and no infinity: both travel as `null` and arrive as NaN.
pub mod nullable {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub fn serialize<S: Serializer>(map: &BTreeMap<String, f64>, s: S) -> Result<S::Ok, S::Error> {
        map.iter().map(|(k, v)| (k, v.is_finite().then_some(*v))).collect::<BTreeMap<_, _>>().serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, f64>, D::Error> {
        let map = BTreeMap::<String, Option<f64>>::deserialize(d)?;
        Ok(map.into_iter().map(|(k, v)| (k, v.unwrap_or(f64::NAN))).collect())
    }
}
