//! The bridge's C functions; `bridge/bridge.h` says what each does.

use std::ffi::{c_char, c_int, c_void};

use torch_sys::C_tensor;

/// Opaque: a `LetheProgram` of the bridge.
#[repr(C)]
pub struct RawProgram {
    _private: [u8; 0],
}

/// Opaque: a `LetheOptimizer` of the bridge.
#[repr(C)]
pub struct RawOptimizer {
    _private: [u8; 0],
}

/// Opaque: a `LetheGroup` of the bridge.
#[repr(C)]
pub struct RawGroup {
    _private: [u8; 0],
}

/// Opaque: a `LetheReducer` of the bridge.
#[repr(C)]
pub struct RawReducer {
    _private: [u8; 0],
}

pub type Take = extern "C" fn(*mut c_void, *const u8, usize);

/// The functions return null or an error's text of `lethe_text_new`.
#[repr(C)]
pub struct StoreCalls {
    pub context: *mut c_void,
    pub set: extern "C" fn(*mut c_void, *const c_char, *const u8, usize) -> *mut c_char,
    pub get: extern "C" fn(*mut c_void, *const c_char, i64, *mut c_void, Take, *mut c_int) -> *mut c_char,
    pub add: extern "C" fn(*mut c_void, *const c_char, i64, *mut i64) -> *mut c_char,
    pub remove: extern "C" fn(*mut c_void, *const c_char, *mut c_int) -> *mut c_char,
}

/// As [`StoreCalls`]; a null function is none.
#[repr(C)]
pub struct MeanCall {
    pub context: *mut c_void,
    pub mean: Option<extern "C" fn(*mut c_void, *mut f32, usize) -> *mut c_char>,
}

pub type TensorCallback = extern "C" fn(*mut c_void, *const c_char, c_int, c_int, u64, *mut C_tensor);
pub type NameCallback = extern "C" fn(*mut c_void, *const c_char);
pub type StateCallback = extern "C" fn(*mut c_void, *const c_char, usize, *mut C_tensor);
pub type EntryCallback = extern "C" fn(*mut c_void, *const c_char, *mut C_tensor);

unsafe extern "C" {
    pub fn lethe_text_new(text: *const c_char) -> *mut c_char;
    pub fn lethe_text_free(text: *mut c_char);
    pub fn lethe_program_load(path: *const c_char, device: c_int, out: *mut *mut RawProgram) -> *mut c_char;
    pub fn lethe_program_free(program: *mut RawProgram);
    pub fn lethe_program_copy(program: *const RawProgram, out: *mut *mut RawProgram) -> *mut c_char;
    pub fn lethe_program_tensors(
        program: *const RawProgram,
        context: *mut c_void,
        callback: TensorCallback,
    ) -> *mut c_char;
    pub fn lethe_program_bind(
        program: *mut RawProgram,
        name: *const c_char,
        tensor: *const C_tensor,
    ) -> *mut c_char;
    pub fn lethe_program_methods(
        program: *const RawProgram,
        context: *mut c_void,
        callback: NameCallback,
    ) -> *mut c_char;
    pub fn lethe_program_train(program: *mut RawProgram, on: c_int) -> *mut c_char;
    pub fn lethe_program_forward(
        program: *mut RawProgram,
        inputs: *const *const C_tensor,
        count: usize,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub fn lethe_program_step(
        program: *mut RawProgram,
        method: *const c_char,
        names: *const *const c_char,
        tensors: *const *const C_tensor,
        count: usize,
        context: *mut c_void,
        callback: EntryCallback,
    ) -> *mut c_char;
    pub fn lethe_optimizer_new(
        kind: c_int,
        parameters: *const *const C_tensor,
        count: usize,
        weight_decay: f64,
        clip: f64,
        keeps_momentum: c_int,
        out: *mut *mut RawOptimizer,
    ) -> *mut c_char;
    pub fn lethe_optimizer_free(optimizer: *mut RawOptimizer);
    pub fn lethe_optimizer_step(optimizer: *mut RawOptimizer, lr: f64, momentum: f64) -> *mut c_char;
    pub fn lethe_optimizer_state(
        optimizer: *const RawOptimizer,
        context: *mut c_void,
        callback: StateCallback,
    ) -> *mut c_char;
    pub fn lethe_group_new(
        host: *const c_char,
        rank: c_int,
        world: c_int,
        timeout_ms: i64,
        patience_ms: i64,
        calls: StoreCalls,
        out: *mut *mut RawGroup,
    ) -> *mut c_char;
    pub fn lethe_group_free(group: *mut RawGroup);
    pub fn lethe_group_sum(group: *mut RawGroup, tensor: *mut C_tensor) -> *mut c_char;
    pub fn lethe_group_broadcast(
        group: *mut RawGroup,
        tensors: *const *const C_tensor,
        count: usize,
    ) -> *mut c_char;
    pub fn lethe_group_gather(
        group: *mut RawGroup,
        mine: *const C_tensor,
        into: *const *mut C_tensor,
        count: usize,
    ) -> *mut c_char;
    pub fn lethe_group_barrier(group: *mut RawGroup) -> *mut c_char;
    pub fn lethe_unused(
        loss: *const C_tensor,
        parameters: *const *const C_tensor,
        count: usize,
        unused: *mut usize,
    ) -> *mut c_char;
    pub fn lethe_reducer_new(
        group: *mut RawGroup,
        parameters: *const *const C_tensor,
        count: usize,
        finds_unused: c_int,
        mean: MeanCall,
        out: *mut *mut RawReducer,
    ) -> *mut c_char;
    pub fn lethe_reducer_free(reducer: *mut RawReducer);
    pub fn lethe_reducer_prepare(reducer: *mut RawReducer, loss: *const C_tensor) -> *mut c_char;
    pub fn lethe_share_batch_norm(group: *mut RawGroup) -> *mut c_char;
    pub fn lethe_batch_norm_counts(on: c_int);
    pub fn lethe_autocast(device: c_int, on: c_int) -> *mut c_char;
    pub fn lethe_seed(seed: u64) -> *mut c_char;
    pub fn lethe_random_state(device: c_int, out: *mut *mut C_tensor) -> *mut c_char;
    pub fn lethe_set_random_state(device: c_int, state: *const C_tensor) -> *mut c_char;
    pub fn lethe_intra_threads(threads: c_int) -> *mut c_char;
    pub fn lethe_inter_threads(threads: c_int) -> *mut c_char;
    pub fn lethe_cuda_devices(count: *mut c_int) -> *mut c_char;
    pub fn lethe_pinned_rows(like: *const C_tensor, rows: i64, out: *mut *mut C_tensor) -> *mut c_char;
    pub fn lethe_plain_interpreter(on: c_int) -> *mut c_char;
    pub fn lethe_fast_dropout() -> *mut c_char;
    pub fn lethe_keep_memory();
    pub fn lethe_exit(code: c_int);
    pub fn lethe_scalar(tensor: *const C_tensor, out: *mut f64) -> *mut c_char;
}
