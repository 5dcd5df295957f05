// What tch lacks, as C functions. Each returns null, or the text of an error that the caller frees with
// lethe_text_free; none throws. Tensors and objects handed out belong to the caller.
#pragma once
#include <cstddef>
#include <cstdint>

namespace at {
class Tensor;
}

extern "C" {

struct LetheProgram;
struct LetheOptimizer;
struct LetheGroup;
struct LetheReducer;

// A text as these functions return it, for callbacks that fail.
char* lethe_text_new(const char* text);
void lethe_text_free(char* text);

// A TorchScript program.
char* lethe_program_load(const char* path, int device, LetheProgram** out);
void lethe_program_free(LetheProgram* program);
// An independent copy of the attributes; the compiled methods are shared.
char* lethe_program_copy(const LetheProgram* program, LetheProgram** out);
// Calls back for each parameter and each buffer with its dotted name, in the module's order. `storage` is
// equal for tensors that share memory; `placeholder` says that one stored element stands for many.
typedef void (*lethe_tensor_callback)(
    void* context, const char* name, int parameter, int placeholder, uint64_t storage, at::Tensor* tensor);
char* lethe_program_tensors(const LetheProgram* program, void* context, lethe_tensor_callback callback);
// Puts a tensor in place of the parameter or buffer of that dotted name.
char* lethe_program_bind(LetheProgram* program, const char* name, const at::Tensor* tensor);
typedef void (*lethe_name_callback)(void* context, const char* name);
char* lethe_program_methods(const LetheProgram* program, void* context, lethe_name_callback callback);
char* lethe_program_train(LetheProgram* program, int on);
char* lethe_program_forward(
    LetheProgram* program, const at::Tensor* const* inputs, size_t count, at::Tensor** out);
// Calls method(batch: Dict[str, Tensor]); calls back for each entry of the answer, with an empty name if the
// answer is one tensor.
typedef void (*lethe_entry_callback)(void* context, const char* name, at::Tensor* tensor);
char* lethe_program_step(
    LetheProgram* program,
    const char* method,
    const char* const* names,
    const at::Tensor* const* tensors,
    size_t count,
    void* context,
    lethe_entry_callback callback);

// Optimizers: 0 Adam, 1 AdamW, 2 SGD, 3 RMSprop, with PyTorch's formulas.
char* lethe_optimizer_new(
    int kind,
    const at::Tensor* const* parameters,
    size_t count,
    double weight_decay,
    double clip,
    int keeps_momentum,
    LetheOptimizer** out);
void lethe_optimizer_free(LetheOptimizer* optimizer);
// Clips the gradients (if clip > 0), takes one step, and drops the gradients. `momentum` is beta1 for Adam
// and AdamW.
char* lethe_optimizer_step(LetheOptimizer* optimizer, double lr, double momentum);
// Calls back for each tensor of the state itself, not a copy: the state's name and the place of its parameter.
typedef void (*lethe_state_callback)(void* context, const char* state, size_t place, at::Tensor* tensor);
char* lethe_optimizer_state(const LetheOptimizer* optimizer, void* context, lethe_state_callback callback);

// Ranks that train together. The store is where they find each other: its functions return null or an error's text
// of lethe_text_new. `get` waits up to `wait_ms` and hands the value to `take`, if it is there.
typedef void (*lethe_take)(void* out, const uint8_t* value, size_t length);
struct LetheStoreCalls {
  void* context;
  char* (*set)(void* context, const char* key, const uint8_t* value, size_t length);
  char* (*get)(void* context, const char* key, int64_t wait_ms, void* out, lethe_take take, int* there);
  char* (*add)(void* context, const char* key, int64_t amount, int64_t* sum);
  char* (*remove)(void* context, const char* key, int* there);
};
// Listens on `host`. The others have `timeout_ms` to come, and later `patience_ms` for each operation. The store's
// context must live as long as the group.
char* lethe_group_new(
    const char* host,
    int rank,
    int world,
    int64_t timeout_ms,
    int64_t patience_ms,
    LetheStoreCalls calls,
    LetheGroup** out);
void lethe_group_free(LetheGroup* group);
// In its place, over all ranks.
char* lethe_group_sum(LetheGroup* group, at::Tensor* tensor);
// Rank 0's values to all, in the tensors themselves.
char* lethe_group_broadcast(LetheGroup* group, const at::Tensor* const* tensors, size_t count);
// Each rank's tensor, of one shape and dtype, to rank 0, which gives as many to write to as there are ranks; the
// others give none.
char* lethe_group_gather(LetheGroup* group, const at::Tensor* mine, at::Tensor* const* into, size_t count);
char* lethe_group_barrier(LetheGroup* group);

// How many of the parameters the loss does not depend on.
char* lethe_unused(const at::Tensor* loss, const at::Tensor* const* parameters, size_t count, size_t* unused);
// Averages gradients over the ranks during each backward pass that it was prepared for. The group must outlive it.
// `mean`, unless it is null, puts the mean over the ranks in place of float32 numbers, and stands in for the group;
// it is called in the backward pass. Its error is of lethe_text_new.
struct LetheMean {
  void* context;
  char* (*mean)(void* context, float* values, size_t count);
};
char* lethe_reducer_new(
    LetheGroup* group,
    const at::Tensor* const* parameters,
    size_t count,
    int finds_unused,
    LetheMean mean,
    LetheReducer** out);
void lethe_reducer_free(LetheReducer* reducer);
char* lethe_reducer_prepare(LetheReducer* reducer, const at::Tensor* loss);

// For the calling thread: batch norm in training mode over the rows of all ranks; null ends it.
char* lethe_share_batch_norm(LetheGroup* group);
// For the calling thread: whether the rows of a batch count in it.
void lethe_batch_norm_counts(int on);
// For the calling thread: begins and ends mixed precision in bfloat16 on the CPU (device -1) or a GPU.
char* lethe_autocast(int device, int on);

// The process.
char* lethe_seed(uint64_t seed);
// The state of the default generator of the CPU (device -1) or of a GPU, as bytes on the CPU.
char* lethe_random_state(int device, at::Tensor** out);
char* lethe_set_random_state(int device, const at::Tensor* state);
char* lethe_intra_threads(int threads);
char* lethe_inter_threads(int threads);
char* lethe_cuda_devices(int* count);
// Memory that a GPU reads by itself, in the shape and dtype of `like` with so many rows. libtorch gives it to others
// once it is freed and all copies from it have ended.
char* lethe_pinned_rows(const at::Tensor* like, int64_t rows, at::Tensor** out);
// Runs programs as they are written, without profiling and specialising; for the process.
char* lethe_plain_interpreter(int on);
// Draws dropout masks on the CPU by a counter-based generator instead of the Mersenne twister; for the process.
char* lethe_fast_dropout();
// Keeps freed memory for the next step instead of giving it back to the kernel.
void lethe_keep_memory();
// _exit.
void lethe_exit(int code);
// A one-element tensor's value, without the dispatcher where it lies in the CPU's memory as float32.
char* lethe_scalar(const at::Tensor* tensor, double* out);
}
