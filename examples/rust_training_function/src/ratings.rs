//! Ratings that follow from a seed: users and films have hidden tastes, of which each rating is a noisy product.

use tch::{Kind, Tensor};

/// `users` and `films`: int64 `[n]`; `stars`: float32 `[n]`.
pub struct Ratings {
    pub users: Tensor,
    pub films: Tensor,
    pub stars: Tensor,
}

pub const USERS: i64 = 400;
pub const FILMS: i64 = 200;
const TASTES: i64 = 4;
const COUNT: i64 = 20_000;
const NOISE: f64 = 0.1;

impl Ratings {
    /// Those to train on, and as many as a quarter of them to validate.
    ///
    /// # Errors
    /// If libtorch has no memory for them.
    pub fn generate(seed: i64) -> Result<(Self, Self), tch::TchError> {
        tch::manual_seed(seed);
        let device = tch::Device::Cpu;
        let tastes = |rows: i64| Tensor::f_randn([rows, TASTES], (Kind::Float, device));
        let (of_users, of_films) = (tastes(USERS)?, tastes(FILMS)?);
        let draw = |count: i64| -> Result<Self, tch::TchError> {
            let users = Tensor::f_randint(USERS, [count], (Kind::Int64, device))?;
            let films = Tensor::f_randint(FILMS, [count], (Kind::Int64, device))?;
            let product = of_users.f_index_select(0, &users)?.f_mul(&of_films.f_index_select(0, &films)?)?;
            let noise = Tensor::f_randn([count], (Kind::Float, device))?.f_mul_scalar(NOISE)?;
            let stars = product.f_sum_dim_intlist(-1, false, Kind::Float)?.f_add(&noise)?;
            Ok(Self { users, films, stars })
        };
        Ok((draw(COUNT)?, draw(COUNT / 4)?))
    }

    pub fn len(&self) -> i64 {
        self.stars.size().first().copied().unwrap_or_default()
    }

    /// These rows.
    pub fn rows(&self, rows: &Tensor) -> Result<Self, tch::TchError> {
        let select = |column: &Tensor| column.f_index_select(0, rows);
        Ok(Self { users: select(&self.users)?, films: select(&self.films)?, stars: select(&self.stars)? })
    }
}
