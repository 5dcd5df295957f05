//! Ranks that train together, by libtorch's process group over Gloo.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::time::Duration;

use lethe_flight::message::training::Rank;
use tch::Tensor;

use super::ffi::{self, StoreCalls, Take};
use super::{check, nccl, text};
use crate::error::{Error, Result};
use crate::gang::Store;

/// Collective operations: all ranks call the same ones in the same order. Each waits for the others, and fails where
/// one of them has gone ([`Error::Gang`]); on GPUs it waits until NCCL notices, or the attempt is told to end.
pub struct Group {
    raw: *mut ffi::RawGroup,
    /// What the group's store calls; it lives as long.
    _store: Box<Box<dyn Store>>,
}

// SAFETY: the object is used by one thread at a time. The store is called under that thread's calls, and by NCCL's own
// threads: it is Sync.
unsafe impl Send for Group {}

impl Group {
    /// Waits for the others, at most `join`; each operation then at most `patience`. Listens on `host`, an address of
    /// this machine.
    ///
    /// # Errors
    /// If they do not come, or the store fails.
    pub fn new(
        host: &str,
        Rank { rank, world }: Rank,
        join: Duration,
        patience: Duration,
        store: Box<dyn Store>,
    ) -> Result<Self> {
        let name = host;
        let host = text(host)?;
        let store = Box::new(store);
        let context: *const Box<dyn Store> = &raw const *store;
        let calls = StoreCalls { context: context.cast_mut().cast(), set, get, add, remove };
        let (rank, world) = (number(rank)?, number(world)?);
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let mut raw = std::ptr::null_mut();
        // SAFETY: `host` lives through the call, the store as long as the group; `raw` is set where no error is
        // returned.
        check(unsafe {
            ffi::lethe_group_new(host.as_ptr(), rank, world, millis(join), millis(patience), calls, &mut raw)
        })
        .map_err(|error| {
            Error::Gang(format!(
                "the ranks did not come together ({error}); this one listens at {name} on a port of Gloo's own choice: \
                 are the executors' hosts open to each other?"
            ))
        })?;
        Ok(Self { raw, _store: store })
    }

    /// Gives the group a way for tensors of GPUs, over NCCL, of which each rank has one of its own. All ranks call it;
    /// they meet at the first operation.
    ///
    /// # Errors
    /// If this build cannot, or there is no GPU.
    pub fn join_gpus(&self, patience: Duration) -> Result<()> {
        let join = nccl::join()?;
        let patience = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
        // SAFETY: valid until drop.
        check(unsafe { join(self.raw, patience) })
    }

    pub(super) fn raw(&self) -> *mut ffi::RawGroup {
        self.raw
    }

    /// Sums a tensor over the ranks, in its place.
    pub fn sum(&self, tensor: &mut Tensor) -> Result<()> {
        // SAFETY: both live through the call.
        waited(unsafe { ffi::lethe_group_sum(self.raw, tensor.as_mut_ptr()) })
    }

    /// Puts rank 0's values into the tensors of all. They are changed in their place, also where they require
    /// gradients.
    pub fn broadcast(&self, tensors: &[Tensor]) -> Result<()> {
        let pointers: Vec<_> = tensors.iter().map(Tensor::as_ptr).collect();
        // SAFETY: the pointers are of live tensors.
        waited(unsafe { ffi::lethe_group_broadcast(self.raw, pointers.as_ptr(), pointers.len()) })
    }

    /// Brings each rank's tensor, of one shape and dtype, to rank 0, which gives a tensor for each; the others give
    /// none.
    pub fn gather(&self, mine: &Tensor, into: &mut [Tensor]) -> Result<()> {
        let pointers: Vec<_> = into.iter_mut().map(Tensor::as_mut_ptr).collect();
        // SAFETY: the pointers are of live tensors.
        waited(unsafe { ffi::lethe_group_gather(self.raw, mine.as_ptr(), pointers.as_ptr(), pointers.len()) })
    }

    /// Waits for all ranks.
    pub fn barrier(&self) -> Result<()> {
        // SAFETY: valid until drop.
        waited(unsafe { ffi::lethe_group_barrier(self.raw) })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: made by the bridge, freed once; the store goes after it.
        unsafe { ffi::lethe_group_free(self.raw) };
    }
}

/// A collective operation's result: an error of Gloo's tells of another rank, not of this one's own work.
pub(super) fn waited(text: *mut c_char) -> Result<()> {
    check(text).map_err(Error::of_gang)
}

/// Batch norm over the rows of all ranks, on this thread and until it is dropped.
pub struct SharedBatchNorm<'a> {
    _group: &'a Group,
}

impl<'a> SharedBatchNorm<'a> {
    pub fn new(group: &'a Group) -> Result<Self> {
        // SAFETY: the group outlives this object, at whose end it is forgotten.
        check(unsafe { ffi::lethe_share_batch_norm(group.raw) })?;
        Ok(Self { _group: group })
    }
}

/// Rows that stand in for none, and count nothing in a batch norm that is shared, on this thread and until it is dropped.
pub struct StandIn(());

impl StandIn {
    pub fn begin() -> Self {
        // SAFETY: sets a number of this thread's.
        unsafe { ffi::lethe_batch_norm_counts(0) };
        Self(())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { ffi::lethe_batch_norm_counts(1) };
    }
}

impl Drop for SharedBatchNorm<'_> {
    fn drop(&mut self) {
        // SAFETY: takes no group. It cannot fail without one.
        _ = check(unsafe { ffi::lethe_share_batch_norm(std::ptr::null_mut()) });
    }
}

fn number(value: u32) -> Result<c_int> {
    c_int::try_from(value).map_err(|_| Error::Worker(format!("a gang of {value} ranks is too large")))
}

/// # Safety
/// `context` is the store that `Group::new` gave, `key` a C string.
unsafe fn called<'a>(context: *mut c_void, key: *const c_char) -> (&'a dyn Store, std::borrow::Cow<'a, str>) {
    let store = unsafe { &**context.cast::<Box<dyn Store>>() };
    (store, unsafe { CStr::from_ptr(key) }.to_string_lossy())
}

pub(super) fn told<T>(result: Result<T>, out: impl FnOnce(T)) -> *mut c_char {
    match result {
        Ok(value) => {
            out(value);
            std::ptr::null_mut()
        }
        Err(error) => {
            let text = CString::new(error.to_string().replace('\0', " ")).unwrap_or_default();
            // SAFETY: a C string that lives through the call, which copies it.
            unsafe { ffi::lethe_text_new(text.as_ptr()) }
        }
    }
}

extern "C" fn set(context: *mut c_void, key: *const c_char, value: *const u8, length: usize) -> *mut c_char {
    // SAFETY: as for `called`; the value has so many bytes, and a null pointer only where there are none.
    let (store, key) = unsafe { called(context, key) };
    let value = if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(value, length) } };
    told(store.set(&key, value), |()| ())
}

extern "C" fn get(
    context: *mut c_void,
    key: *const c_char,
    wait_ms: i64,
    out: *mut c_void,
    take: Take,
    there: *mut c_int,
) -> *mut c_char {
    // SAFETY: as for `called`.
    let (store, key) = unsafe { called(context, key) };
    let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
    told(store.get(&key, wait), |value| {
        // SAFETY: `there` and `out` are the caller's, alive through this call.
        unsafe { *there = c_int::from(value.is_some()) };
        if let Some(value) = value {
            take(out, value.as_ptr(), value.len());
        }
    })
}

extern "C" fn add(context: *mut c_void, key: *const c_char, amount: i64, sum: *mut i64) -> *mut c_char {
    // SAFETY: as for `called`; `sum` is the caller's.
    let (store, key) = unsafe { called(context, key) };
    told(store.add(&key, amount), |value| unsafe { *sum = value })
}

extern "C" fn remove(context: *mut c_void, key: *const c_char, there: *mut c_int) -> *mut c_char {
    // SAFETY: as for `called`; `there` is the caller's.
    let (store, key) = unsafe { called(context, key) };
    told(store.remove(&key), |value| unsafe { *there = c_int::from(value) })
}
