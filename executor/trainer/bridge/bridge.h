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

// The process.
char* lethe_seed(uint64_t seed);
// The state of the default generator of the CPU (device -1) or of a GPU, as bytes on the CPU.
char* lethe_random_state(int device, at::Tensor** out);
char* lethe_set_random_state(int device, const at::Tensor* state);
char* lethe_intra_threads(int threads);
char* lethe_inter_threads(int threads);
char* lethe_cuda_devices(int* count);
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
