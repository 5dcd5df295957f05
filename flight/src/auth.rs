//! The application's token: random, carried by every call as `authorization: Bearer …`, never shown.

use subtle::ConstantTimeEq;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::{Error, Result};

const MIN_CHARS: usize = 32;
const MAX_CHARS: usize = 256;

/// A secret of at least 32 characters, shared by the processes of one application. `Debug` does not show it.
#[derive(Clone)]
pub struct Token {
    header: MetadataValue<Ascii>,
}

impl Token {
    /// # Errors
    /// If the secret is shorter than 32 or longer than 256 characters, or not printable ASCII.
    pub fn new(secret: &str) -> Result<Self> {
        if !(MIN_CHARS..=MAX_CHARS).contains(&secret.len()) || !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Invalid(format!(
                "the application's token must have {MIN_CHARS} to {MAX_CHARS} printable ASCII characters"
            )));
        }
        let mut header: MetadataValue<Ascii> = format!("Bearer {secret}")
            .parse()
            .map_err(|_| Error::Invalid("the application's token is not a header value".into()))?;
        header.set_sensitive(true);
        Ok(Self { header })
    }

    fn matches(&self, presented: &MetadataValue<Ascii>) -> bool {
        self.header.as_encoded_bytes().ct_eq(presented.as_encoded_bytes()).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Server side: refuses a call without the token before its body is read.
#[derive(Clone, Debug)]
pub struct RequireToken(pub Token);

impl Interceptor for RequireToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match request.metadata().get("authorization") {
            Some(presented) if self.0.matches(presented) => Ok(request),
            Some(_) => Err(Status::unauthenticated("the token is not this application's")),
            None => Err(Status::unauthenticated("the call carries no token")),
        }
    }
}

/// Client side: adds the token to each call.
#[derive(Clone, Debug)]
pub struct CarryToken(pub Token);

impl Interceptor for CarryToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.header.clone());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_checked_and_not_shown() {
        assert!(Token::new("short").is_err());
        assert!(Token::new(&"ü".repeat(40)).is_err());
        let token = Token::new(&"s".repeat(40)).unwrap();
        assert!(!format!("{token:?}").contains('s'));
        assert!(token.matches(&format!("Bearer {}", "s".repeat(40)).parse().unwrap()));
        assert!(!token.matches(&format!("Bearer {}", "s".repeat(39)).parse().unwrap()));
    }
}
