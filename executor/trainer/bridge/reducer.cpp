// Gradients averaged over the ranks, by the reducer of DistributedDataParallel: in buckets, while the backward pass
// goes on.
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/distributed/c10d/comm.hpp>
#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <unordered_set>

#include "bridge.h"
#include "group.h"
#include "guard.h"

struct LetheReducer {
  std::shared_ptr<c10d::Reducer> reducer;
  // The reducer asks it without looking whether there is one.
  std::shared_ptr<c10d::Logger> logger;
  bool finds_unused;
};

namespace {

// As DistributedDataParallel's defaults.
constexpr size_t kFirstBucket = 1 << 20;
constexpr size_t kBucket = 25 << 20;

// Averages a bucket by the caller's own means.
class Mean : public c10d::CommHookInterface {
 public:
  explicit Mean(const LetheMean& mean) : mean_(mean) {}

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    at::Tensor& buffer = bucket.getBufferRef();
    if (char* error = mean_.mean(mean_.context, buffer.data_ptr<float>(), static_cast<size_t>(buffer.numel()))) {
      std::string text(error);
      lethe_text_free(error);
      C10_THROW_ERROR(DistBackendError, text);
    }
    auto future = c10::make_intrusive<c10::ivalue::Future>(c10::TensorType::get());
    future->markCompleted(c10::IValue(buffer));
    return future;
  }

  at::Tensor parseHookResult(const c10::IValue& result) override { return result.toTensor(); }

 private:
  LetheMean mean_;
};

}  // namespace

extern "C" {

char* lethe_unused(const at::Tensor* loss, const at::Tensor* const* parameters, size_t count, size_t* unused) {
  return guarded([&] {
    std::unordered_set<const torch::autograd::Node*> seen;
    std::vector<torch::autograd::Node*> waiting;
    if (auto root = loss->grad_fn()) {
      seen.insert(root.get());
      waiting.push_back(root.get());
    }
    while (!waiting.empty()) {
      auto* node = waiting.back();
      waiting.pop_back();
      for (const auto& edge : node->next_edges())
        if (edge.function && seen.insert(edge.function.get()).second) waiting.push_back(edge.function.get());
    }
    *unused = 0;
    for (size_t i = 0; i < count; i++)
      *unused += !seen.contains(torch::autograd::impl::grad_accumulator(*parameters[i]).get());
  });
}

char* lethe_reducer_new(
    LetheGroup* group,
    const at::Tensor* const* parameters,
    size_t count,
    int finds_unused,
    LetheMean mean,
    LetheReducer** out) {
  return guarded([&] {
    std::vector<at::Tensor> list;
    for (size_t i = 0; i < count; i++) list.push_back(*parameters[i]);
    const std::vector<bool> sparse(count, false);
    auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(list, {kFirstBucket, kBucket}, sparse));
    // Gradients come from the last layer to the first.
    std::reverse(buckets.begin(), buckets.end());
    auto reducer = std::make_shared<c10d::Reducer>(
        std::move(list), std::move(buckets), group->group, sparse, kBucket, finds_unused != 0,
        /*gradient_as_bucket_view=*/true, std::unordered_map<size_t, std::string>(), kFirstBucket,
        /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false, std::vector<int64_t>());
    auto logger = std::make_shared<c10d::Logger>(reducer);
    reducer->set_logger(logger);
    if (mean.mean != nullptr) reducer->register_comm_hook(std::make_unique<Mean>(mean));
    *out = new LetheReducer{std::move(reducer), std::move(logger), finds_unused != 0};
  });
}

void lethe_reducer_free(LetheReducer* reducer) { delete reducer; }

char* lethe_reducer_prepare(LetheReducer* reducer, const at::Tensor* loss) {
  return guarded([&] {
    // After the first step: buckets in the order in which gradients come. It also sees that the last reduction is done.
    reducer->reducer->rebuild_buckets();
    reducer->reducer->prepare_for_forward();
    std::vector<at::Tensor> outputs;
    if (reducer->finds_unused) outputs.push_back(*loss);
    reducer->reducer->prepare_for_backward(outputs);
  });
}
}
