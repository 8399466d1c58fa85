//! What a sink made of the state, for whoever started the transfer.

use std::sync::{Arc, Mutex, PoisonError};

/// Holds a result from the moment the state is published; nothing before, and nothing if it never is.
#[derive(Debug)]
pub struct Published<T>(Arc<Mutex<Option<T>>>);

impl<T> Published<T> {
    pub(super) fn nothing() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    pub(super) fn set(&self, result: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    /// Takes the result out; `None` before the state is published, and after it was taken.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
