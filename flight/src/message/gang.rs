//! How the ranks of a gang find each other: a small store of the driver's, which libtorch's process groups ask for
//! each other's addresses (a `c10d::Store`). What they then exchange does not pass here.

use serde::{Deserialize, Serialize};

/// How many slots a trial takes at once: a number, or `{"least": 2, "most": 4}`, of which it takes as many as there
/// are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Said", into = "Said")]
pub struct Workers {
    pub least: u32,
    pub most: u32,
}

impl Workers {
    pub const ONE: Self = Self { least: 1, most: 1 };

    pub fn exactly(number: u32) -> Self {
        Self { least: number, most: number }
    }

    pub fn is_one(&self) -> bool {
        *self == Self::ONE
    }

    pub fn is_elastic(&self) -> bool {
        self.least < self.most
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::ONE
    }
}

/// As it travels.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Said {
    Exactly(u32),
    Between { least: u32, most: u32 },
}

impl From<Said> for Workers {
    fn from(said: Said) -> Self {
        match said {
            Said::Exactly(number) => Self::exactly(number),
            Said::Between { least, most } => Self { least, most },
        }
    }
}

impl From<Workers> for Said {
    fn from(Workers { least, most }: Workers) -> Self {
        if least == most { Self::Exactly(most) } else { Self::Between { least, most } }
    }
}

/// Action `gang.store`, a worker to its executor, which hands it on to the driver. The answer is [`Stored`].
///
/// There is one store for each attempt at a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreCall {
    pub experiment: String,
    pub trial: u32,
    pub attempt: u32,
    pub operation: Operation,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Operation {
    /// Puts a value under the key, in place of the one that is there.
    Set {
        key: String,
        #[serde(with = "bytes")]
        value: Vec<u8>,
    },
    /// Waits for the key, at most so many seconds and at most [`crate::limits::STORE_WAIT_S`].
    Get { key: String, wait_s: f64 },
    /// Adds to the number under the key, which begins at 0. Its value is the number in decimal.
    Add { key: String, amount: i64 },
    /// Removes the key.
    Delete { key: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Stored {
    /// Of `set`, and of `delete` where the key was there.
    Done,
    /// Of `get`.
    Value {
        #[serde(with = "bytes")]
        value: Vec<u8>,
    },
    /// Of `add`: the sum.
    Number { number: i64 },
    /// Nobody has set the key so far.
    Missing,
}

/// In base64.
mod bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(value: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(d)?).map_err(de::Error::custom)
    }
}
