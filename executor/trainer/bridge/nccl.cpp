// Gradients of ranks on GPUs go by libtorch's process group over NCCL. A library of its own, which the trainer loads
// once it has loaded libtorch_cuda: on machines without CUDA's libraries it is never looked at.
#define USE_C10D_NCCL 1
#include "group.h"

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "guard.h"

extern "C" {

// Gives the group a backend for tensors of GPUs. Each rank has a GPU of its own, and all call it.
char* lethe_nccl_join(LetheGroup* group, int64_t patience_ms) {
  return guarded([&] {
    auto& ranks = group->group;
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(patience_ms);
    auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(
        ranks->getStore(), ranks->getRank(), ranks->getSize(), std::move(options));
    ranks->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::BackendType::NCCL, backend);
  });
}
}
