//! A trial's settings: the defaults of `Supervised`, overridden by hyperparameters of the same names.

use lethe_flight::message::Hparams;
use lethe_flight::message::training::{Loss, Metric, Optimizer, Precision, Schedule, Supervised};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// [`Supervised`] with the trial's hyperparameters in place, all checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub loss: Option<Loss>,
    pub metrics: Vec<Metric>,
    pub epochs: u32,
    pub batch_size: usize,
    /// Leaves out an epoch's last batch where it is short.
    pub drop_last: bool,
    pub optimizer: Optimizer,
    pub lr: f64,
    pub weight_decay: f64,
    /// For SGD and RMSprop.
    pub momentum: f64,
    pub schedule: Schedule,
    pub grad_clip: Option<f64>,
    /// Parts of a batch.
    pub accumulate: usize,
    pub precision: Precision,
    pub sync_batch_norm: bool,
}

impl Settings {
    /// Hyperparameters of other names belong to the model generator and are not looked at.
    ///
    /// # Errors
    /// If a value is not of the kind or range allowed; the text names it and says what is.
    pub fn resolve(defaults: &Supervised, hparams: &Hparams) -> Result<Self> {
        let value = |name: &str, default: Value| match hparams.get(name) {
            Some(value) => Given { name: format!("hparam {name}"), value: value.clone() },
            None => Given { name: format!("{name} of Supervised"), value: default },
        };
        let count = |name: &str, default: u32| value(name, default.into()).count();
        let number = |name: &str, default: f64| value(name, default.into()).not_negative();
        Ok(Self {
            loss: defaults.loss,
            metrics: defaults.metrics.clone(),
            epochs: count("epochs", defaults.epochs)?,
            batch_size: count("batch_size", defaults.batch_size)? as usize,
            drop_last: value("drop_last", defaults.drop_last.into()).flag()?,
            optimizer: value("optimizer", serde(&defaults.optimizer))
                .choice(&["adam", "adamw", "sgd", "rmsprop"])?,
            lr: number("lr", defaults.lr)?,
            weight_decay: number("weight_decay", defaults.weight_decay)?,
            momentum: number("momentum", defaults.momentum)?,
            schedule: value("schedule", serde(&defaults.schedule)).choice(&[
                "constant",
                "cosine",
                "step",
                "one_cycle",
            ])?,
            grad_clip: value("grad_clip", defaults.grad_clip.map_or(Value::Null, Value::from))
                .positive_or_none()?,
            accumulate: count("accumulate", defaults.accumulate)? as usize,
            precision: value("precision", serde(&defaults.precision)).choice(&["float32", "bfloat16"])?,
            sync_batch_norm: defaults.sync_batch_norm,
        })
    }
}

fn serde<T: serde::Serialize>(value: &T) -> Value {
    // The defaults are plain enums, whose names always render; null would be refused with a clear text.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

struct Given {
    name: String,
    value: Value,
}

impl Given {
    fn refused(&self, allowed: &str) -> Error {
        Error::trial(format!("{} must be {allowed}, not {}", self.name, self.value))
    }

    fn count(&self) -> Result<u32> {
        let whole = match self.value.as_u64() {
            Some(n) => Some(n),
            // Choices drawn as floats arrive as 128.0.
            None => {
                self.value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=4e9).contains(n)).map(|n| n as u64)
            }
        };
        whole
            .and_then(|n| u32::try_from(n).ok())
            .filter(|&n| n >= 1)
            .ok_or_else(|| self.refused("a whole number of at least 1"))
    }

    fn flag(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.refused("true or false"))
    }

    fn not_negative(&self) -> Result<f64> {
        self.value
            .as_f64()
            .filter(|n| n.is_finite() && *n >= 0.0)
            .ok_or_else(|| self.refused("a number of at least 0"))
    }

    fn positive_or_none(&self) -> Result<Option<f64>> {
        if self.value.is_null() {
            return Ok(None);
        }
        match self.value.as_f64().filter(|n| n.is_finite() && *n > 0.0) {
            Some(n) => Ok(Some(n)),
            None => Err(self.refused("a number above 0, or None for no clipping")),
        }
    }

    fn choice<T: DeserializeOwned>(&self, names: &[&str]) -> Result<T> {
        let named = self.value.as_str().map(|name| Value::String(name.to_ascii_lowercase()));
        named
            .and_then(|name| serde_json::from_value(name).ok())
            .ok_or_else(|| self.refused(&format!("one of {}", names.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn defaults() -> Supervised {
        Supervised {
            loss: Some(Loss::CrossEntropy),
            metrics: vec![],
            epochs: 3,
            batch_size: 32,
            drop_last: false,
            optimizer: Optimizer::Adam,
            lr: 1e-3,
            weight_decay: 0.0,
            momentum: 0.9,
            schedule: Schedule::Constant,
            grad_clip: None,
            accumulate: 1,
            precision: Default::default(),
            sync_batch_norm: false,
        }
    }

    fn resolve(hparams: Value) -> Result<Settings> {
        Settings::resolve(&defaults(), hparams.as_object().unwrap())
    }

    #[test]
    fn hyperparameters_override_the_defaults_of_the_same_name() {
        let plain = resolve(json!({"width": 7})).unwrap();
        assert_eq!((plain.epochs, plain.lr, plain.grad_clip), (3, 1e-3, None));
        let set = resolve(json!({
            "lr": 1, "batch_size": 64.0, "epochs": 5, "optimizer": "SGD", "weight_decay": 0.1, "momentum": 0,
            "schedule": "one_cycle", "grad_clip": 0.5, "drop_last": true, "accumulate": 4, "precision": "BFloat16",
        }))
        .unwrap();
        assert_eq!((set.lr, set.batch_size, set.epochs, set.optimizer), (1.0, 64, 5, Optimizer::Sgd));
        assert_eq!((set.weight_decay, set.momentum, set.grad_clip), (0.1, 0.0, Some(0.5)));
        assert_eq!((set.schedule, set.drop_last), (Schedule::OneCycle, true));
        assert!(!plain.drop_last);
        assert_eq!((set.accumulate, set.precision), (4, Precision::Bfloat16));
        assert_eq!((plain.accumulate, plain.precision), (1, Precision::Float32));
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        for (hparams, text) in [
            (json!({"lr": "fast"}), "hparam lr must be a number of at least 0, not \"fast\""),
            (json!({"lr": -1}), "hparam lr must be a number of at least 0, not -1"),
            (json!({"batch_size": 0}), "hparam batch_size must be a whole number of at least 1, not 0"),
            (json!({"accumulate": 0}), "hparam accumulate must be a whole number of at least 1, not 0"),
            (json!({"precision": "half"}), "hparam precision must be one of float32, bfloat16, not \"half\""),
            (json!({"drop_last": 1}), "hparam drop_last must be true or false, not 1"),
            (json!({"epochs": 2.5}), "hparam epochs must be a whole number of at least 1, not 2.5"),
            (
                json!({"optimizer": "lion"}),
                "hparam optimizer must be one of adam, adamw, sgd, rmsprop, not \"lion\"",
            ),
            (
                json!({"schedule": 3}),
                "hparam schedule must be one of constant, cosine, step, one_cycle, not 3",
            ),
            (
                json!({"grad_clip": 0}),
                "hparam grad_clip must be a number above 0, or None for no clipping, not 0",
            ),
        ] {
            assert_eq!(resolve(hparams).unwrap_err().to_string(), text);
        }
        let wrong = Supervised { lr: -2.0, ..defaults() };
        let error = Settings::resolve(&wrong, &Hparams::new()).unwrap_err().to_string();
        assert_eq!(error, "lr of Supervised must be a number of at least 0, not -2.0");
    }
}
