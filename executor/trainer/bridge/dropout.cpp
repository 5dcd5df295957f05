// A faster mask for dropout on the CPU. libtorch draws each element from its Mersenne twister, one call at a
// time, which takes a third of a small network's step.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/bernoulli_cpu_dispatch.h>
#include <torch/library.h>

#include <memory>
#include <mutex>

#include "bridge.h"
#include "guard.h"

namespace {

// One step of SplitMix64 (Steele, Lea, Flood 2014), by its counter: elements do not wait for each other.
inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Each call takes one number from the default generator and expands it: the mask is a function of
// lethe_seed and of the calls before, as libtorch's is, but another one. Two elements share 64 bits, so p is
// rounded to a multiple of 2^-32.
at::Tensor& bernoulli(at::Tensor& self, double p, std::optional<at::Generator> generator) {
  const bool plain = self.scalar_type() == at::kFloat && self.is_non_overlapping_and_dense() && p >= 0 && p <= 1;
  if (!plain || generator.has_value()) return at::cpu::bernoulli_(self, p, generator);
  at::Generator shared = at::detail::getDefaultCPUGenerator();
  uint64_t seed;
  {
    std::lock_guard<std::mutex> lock(shared.mutex());
    seed = at::check_generator<at::CPUGeneratorImpl>(shared)->random64();
  }
  const uint64_t below = static_cast<uint64_t>(p * 4294967296.0 + 0.5);
  float* out = self.data_ptr<float>();
  const int64_t n = self.numel();
  int64_t i = 0;
  for (uint64_t counter = seed; i + 1 < n; i += 2) {
    const uint64_t bits = mix(counter += 0x9e3779b97f4a7c15ULL);
    out[i] = static_cast<float>((bits & 0xffffffffULL) < below);
    out[i + 1] = static_cast<float>((bits >> 32) < below);
  }
  if (i < n) out[i] = static_cast<float>((mix(~seed) >> 32) < below);
  return self;
}

// libtorch warns of a kernel that is replaced; this one is meant to be.
struct Silent : c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

}  // namespace

extern "C" {

char* lethe_fast_dropout() {
  return guarded([] {
    Silent silent;
    c10::WarningUtils::WarningHandlerGuard guard(&silent);
    // Lives as long as the process: its end would put libtorch's kernel back.
    static const auto* replaced = [] {
      auto library = new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::CPU, __FILE__, __LINE__);
      library->impl("bernoulli_.float", TORCH_FN(bernoulli));
      return library;
    }();
    (void)replaced;
  });
}
}
