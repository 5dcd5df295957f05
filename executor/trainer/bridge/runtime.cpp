#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <malloc.h>
#include <unistd.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <mutex>

#include "bridge.h"
#include "guard.h"

namespace {

at::Generator generator(int device) {
  if (device < 0) return at::globalContext().defaultGenerator(c10::Device(c10::kCPU));
  return at::globalContext().defaultGenerator(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device)));
}

}  // namespace

extern "C" {

char* lethe_seed(uint64_t seed) {
  return guarded([&] { at::manual_seed(seed); });
}

char* lethe_random_state(int device, at::Tensor** out) {
  return guarded([&] {
    at::Generator random = generator(device);
    std::lock_guard<std::mutex> lock(random.mutex());
    *out = new at::Tensor(random.get_state());
  });
}

char* lethe_set_random_state(int device, const at::Tensor* state) {
  return guarded([&] {
    at::Generator random = generator(device);
    std::lock_guard<std::mutex> lock(random.mutex());
    random.set_state(*state);
  });
}

char* lethe_intra_threads(int threads) {
  return guarded([&] { at::set_num_threads(threads); });
}

char* lethe_inter_threads(int threads) {
  return guarded([&] { at::set_num_interop_threads(threads); });
}

char* lethe_cuda_devices(int* count) {
  return guarded([&] { *count = at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0; });
}

char* lethe_pinned_rows(const at::Tensor* like, int64_t rows, at::Tensor** out) {
  return guarded([&] {
    auto shape = like->sizes().vec();
    shape.at(0) = rows;
    *out = new at::Tensor(at::empty(shape, like->options().pinned_memory(true)));
  });
}

char* lethe_plain_interpreter(int on) {
  return guarded([&] { torch::jit::getProfilingMode() = on == 0; });
}

void lethe_keep_memory() {
  // A step allocates and frees the same blocks again and again. By default glibc maps large ones afresh and
  // trims the heap, and the kernel then clears every page of every step.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
}

void lethe_exit(int code) { _exit(code); }

char* lethe_scalar(const at::Tensor* tensor, double* out) {
  return guarded([&] {
    if (tensor->is_cpu() && tensor->scalar_type() == at::kFloat && tensor->numel() == 1)
      *out = *tensor->const_data_ptr<float>();
    else
      *out = tensor->item().toDouble();
  });
}
}
