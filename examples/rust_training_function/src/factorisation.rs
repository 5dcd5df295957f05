//! Matrix factorisation: a vector for each user and each film, whose product is the rating (Koren, Bell and Volinsky,
//! "Matrix Factorization Techniques for Recommender Systems", 2009), fitted by Adam on batches.

use lethe_trainer::{Completion, Error, Flow, Result, TrainingFunction, TrialContext};
use tch::nn::{self, OptimizerConfig};
use tch::{Kind, Tensor, no_grad};

use crate::ratings::{FILMS, Ratings, USERS};

const BATCH: i64 = 256;

/// Hyperparameters: `rank` (default 4), `lr` (0.01), `weight_decay` (0). After each epoch it reports `rmse`, the root of
/// the mean squared error of ratings that it was not trained on, in stars. It saves no checkpoints, so that a pause is
/// its end.
pub struct Factorisation;

impl TrainingFunction for Factorisation {
    fn train(&self, trial: &mut TrialContext) -> Result<Completion> {
        let number = |name: &str, default: f64| match trial.hparams().get(name) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|number| number.is_finite() && *number >= 0.0)
                .ok_or_else(|| Error::trial(format!("hparam {name} must be a number from 0, not {value}"))),
        };
        let (rank, lr, decay) = (number("rank", 4.0)?, number("lr", 0.01)?, number("weight_decay", 0.0)?);
        if rank < 1.0 {
            return Err(Error::trial(format!("hparam rank must be at least 1, not {rank}")));
        }
        // The ratings are the same for all trials; what is drawn after them is the trial's own.
        let (train, validation) = Ratings::generate(1)?;
        tch::manual_seed(trial.spec().seed as i64);
        let variables = nn::VarStore::new(trial.device());
        let table = |name: &str, rows: i64| {
            let scale = nn::Init::Randn { mean: 0.0, stdev: 0.3 };
            let config = nn::EmbeddingConfig { ws_init: scale, ..Default::default() };
            nn::embedding(variables.root() / name, rows, rank as i64, config)
        };
        let (users, films) = (table("users", USERS), table("films", FILMS));
        let predict = |of: &Ratings| {
            let product = of.users.apply(&users).f_mul(&of.films.apply(&films))?;
            product.f_sum_dim_intlist(-1, false, Kind::Float)
        };
        let adam = nn::Adam { wd: decay, ..nn::adam(0.9, 0.999, 0.0) };
        let mut optimizer = adam.build(&variables, lr)?;
        trial.first_step();
        for epoch in 1..=trial.epochs() {
            let order = Tensor::f_randperm(train.len(), (Kind::Int64, trial.device()))?;
            for start in (0..train.len()).step_by(BATCH as usize) {
                if trial.is_stopped() {
                    return Ok(Completion::Stopped);
                }
                let batch = train.rows(&order.f_narrow(0, start, BATCH.min(train.len() - start))?)?;
                let loss = predict(&batch)?.f_mse_loss(&batch.stars, tch::Reduction::Mean)?;
                optimizer.zero_grad();
                loss.f_backward()?;
                optimizer.step();
            }
            let error = no_grad(|| predict(&validation)?.f_mse_loss(&validation.stars, tch::Reduction::Mean))?;
            let rmse = f64::try_from(&error)?.sqrt();
            if trial.report(epoch, [("rmse".to_owned(), rmse)].into())? != Flow::Continue {
                return Ok(Completion::Stopped);
            }
        }
        Ok(Completion::Finished)
    }
}
