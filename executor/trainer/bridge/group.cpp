// Ranks that train together: libtorch's process group over Gloo. They find each other through a store of the
// caller's, and listen on the caller's address.
#define USE_C10D_GLOO 1
#include "group.h"

#include <ATen/core/Tensor.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/csrc/distributed/c10d/comm.hpp>

#include <memory>

#include "bridge.h"
#include "guard.h"

namespace {

// The error's text is the callee's, from lethe_text_new.
void check(char* error) {
  if (error == nullptr) return;
  std::string text(error);
  lethe_text_free(error);
  C10_THROW_ERROR(DistStoreError, text);
}

class Store : public c10d::Store {
 public:
  explicit Store(const LetheStoreCalls& calls, std::chrono::milliseconds timeout)
      : c10d::Store(timeout), calls_(calls) {}

  c10::intrusive_ptr<c10d::Store> clone() override { return c10::make_intrusive<Store>(calls_, timeout_); }

  void set(const std::string& key, const std::vector<uint8_t>& value) override {
    check(calls_.set(calls_.context, key.c_str(), value.data(), value.size()));
  }

  std::vector<uint8_t> get(const std::string& key) override {
    std::vector<uint8_t> value;
    if (!read(key, timeout_, value)) late(key);
    return value;
  }

  int64_t add(const std::string& key, int64_t amount) override {
    int64_t sum = 0;
    check(calls_.add(calls_.context, key.c_str(), amount, &sum));
    return sum;
  }

  bool deleteKey(const std::string& key) override {
    int there = 0;
    check(calls_.remove(calls_.context, key.c_str(), &there));
    return there != 0;
  }

  bool check(const std::vector<std::string>& keys) override {
    std::vector<uint8_t> value;
    for (const auto& key : keys)
      if (!read(key, std::chrono::milliseconds(0), value)) return false;
    return true;
  }

  int64_t getNumKeys() override { C10_THROW_ERROR(NotImplementedError, "the store does not count its keys"); }

  void wait(const std::vector<std::string>& keys) override { wait(keys, timeout_); }

  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override {
    const auto end = std::chrono::steady_clock::now() + timeout;
    std::vector<uint8_t> value;
    for (const auto& key : keys) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      if (!read(key, std::max(left, std::chrono::milliseconds(0)), value)) late(key);
    }
  }

 private:
  static void append(void* out, const uint8_t* data, size_t length) {
    static_cast<std::vector<uint8_t>*>(out)->assign(data, data + length);
  }

  static void check(char* error) { ::check(error); }

  bool read(const std::string& key, std::chrono::milliseconds wait, std::vector<uint8_t>& value) {
    int there = 0;
    check(calls_.get(calls_.context, key.c_str(), wait.count(), &value, append, &there));
    return there != 0;
  }

  [[noreturn]] void late(const std::string& key) {
    C10_THROW_ERROR(
        DistStoreError, "another rank of the gang did not come: its key " + key + " was waited for too long");
  }

  LetheStoreCalls calls_;
};

}  // namespace

void lethe_sum(const c10::intrusive_ptr<c10d::ProcessGroup>& group, at::Tensor& tensor) {
  std::vector<at::Tensor> tensors{tensor};
  group->allreduce(tensors)->wait();
}

extern "C" {

char* lethe_text_new(const char* text) { return strdup(text); }

char* lethe_group_new(
    const char* host,
    int rank,
    int world,
    int64_t timeout_ms,
    int64_t patience_ms,
    LetheStoreCalls calls,
    LetheGroup** out) {
  return guarded([&] {
    const std::chrono::milliseconds timeout(timeout_ms);
    auto store = c10::make_intrusive<Store>(calls, timeout);
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    // One operation at a time is under way but for a few buckets.
    options->threads = 1;
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(host, false));
    auto backend = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, world, options);
    // All are there: from here on one that trains is waited for.
    backend->setTimeout(std::chrono::milliseconds(patience_ms));
    auto group = c10::make_intrusive<c10d::ProcessGroup>(store, rank, world);
    group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, backend);
    group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
    group->setGroupName("lethe");
    *out = new LetheGroup{std::move(group)};
  });
}

void lethe_group_free(LetheGroup* group) { delete group; }

char* lethe_group_sum(LetheGroup* group, at::Tensor* tensor) {
  return guarded([&] { lethe_sum(group->group, *tensor); });
}

char* lethe_group_broadcast(LetheGroup* group, const at::Tensor* const* tensors, size_t count) {
  return guarded([&] {
    // As bytes: Gloo does not know all dtypes.
    std::vector<at::Tensor> bytes;
    std::vector<std::pair<at::Tensor, at::Tensor>> copies;
    for (size_t i = 0; i < count; i++) {
      at::Tensor tensor = tensors[i]->detach();
      if (tensor.numel() == 0) continue;
      at::Tensor flat = tensor.contiguous().view({-1});
      if (!tensor.is_contiguous()) copies.emplace_back(tensor, flat);
      bytes.push_back(flat.view(at::kByte));
    }
    if (!bytes.empty()) c10d::broadcast_coalesced(group->group, bytes, 25 << 20, 0);
    for (auto& [tensor, flat] : copies) tensor.copy_(flat.view(tensor.sizes()));
  });
}

char* lethe_group_gather(LetheGroup* group, const at::Tensor* mine, at::Tensor* const* into, size_t count) {
  return guarded([&] {
    std::vector<at::Tensor> input{*mine};
    std::vector<std::vector<at::Tensor>> output;
    if (count > 0) {
      output.emplace_back();
      for (size_t i = 0; i < count; i++) output.back().push_back(*into[i]);
    }
    c10d::GatherOptions options;
    options.rootRank = 0;
    group->group->gather(output, input, options)->wait();
  });
}

char* lethe_group_barrier(LetheGroup* group) {
  return guarded([&] { group->group->barrier()->wait(); });
}
}
