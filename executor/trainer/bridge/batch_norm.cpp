// Batch norm over the rows of all ranks. It takes the place of libtorch's kernel for modules in training mode while
// a group is set; the module itself does not change.
//
// Each channel's sum, sum of squares and count are summed over the ranks, and so are their gradients: as one rank
// with all rows would have it (Ioffe and Szegedy 2015; PyTorch's SyncBatchNorm, which is for GPUs).
#include <ATen/core/Tensor.h>
#include <ATen/ops/batch_norm_native.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rsqrt.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "bridge.h"
#include "group.h"
#include "guard.h"

namespace {

// One training thread sets it and the module's forward runs on that thread.
thread_local c10d::ProcessGroup* shared = nullptr;
// 0 while rows go through that only stand in for none.
thread_local double counts = 1;

struct Sum : torch::autograd::Function<Sum> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& values, int64_t group) {
    context->saved_data["group"] = group;
    return sum(values, group);
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    return {sum(gradients[0], context->saved_data["group"].toInt()), at::Tensor()};
  }

  static at::Tensor sum(const at::Tensor& values, int64_t group) {
    at::Tensor summed = values.detach().clone().contiguous();
    lethe_sum(
        c10::intrusive_ptr<c10d::ProcessGroup>::reclaim_copy(reinterpret_cast<c10d::ProcessGroup*>(group)), summed);
    return summed;
  }
};

at::Tensor batch_norm(
    const at::Tensor& input,
    const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias,
    const std::optional<at::Tensor>& running_mean,
    const std::optional<at::Tensor>& running_var,
    bool training,
    double momentum,
    double eps,
    bool cudnn) {
  if (shared == nullptr || !training || input.dim() < 2)
    return at::native::batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn);
  const at::Tensor rows = input.scalar_type() == at::kDouble ? input : input.to(at::kFloat);
  const int64_t channels = input.size(1);
  std::vector<int64_t> others{0};
  std::vector<int64_t> shape(input.dim(), 1);
  for (int64_t i = 2; i < input.dim(); i++) others.push_back(i);
  shape[1] = channels;
  const double count = static_cast<double>(input.numel()) / static_cast<double>(std::max<int64_t>(channels, 1));
  const auto group = reinterpret_cast<int64_t>(shared);
  // The mean first: a difference of large sums would lose the digits of the variance.
  const at::Tensor sums = Sum::apply(
      at::cat({rows.sum(others, false, at::kDouble), at::full({1}, count, rows.options().dtype(at::kDouble))}) * counts,
      group);
  const at::Tensor total = sums.slice(0, channels).clamp_min(1).detach();
  const at::Tensor mean = (sums.slice(0, 0, channels) / total).to(rows.scalar_type());
  const at::Tensor centred = rows - mean.view(shape);
  const at::Tensor squares = Sum::apply(centred.square().sum(others, false, at::kDouble) * counts, group);
  const at::Tensor variance = (squares / total).to(rows.scalar_type());
  if (running_mean.has_value() && running_mean->defined()) {
    at::Tensor kept_mean = *running_mean, kept_var = *running_var;
    const at::Tensor unbiased = squares.detach() / (total - 1).clamp_min(1);
    kept_mean.mul_(1 - momentum).add_(mean.detach().to(kept_mean.scalar_type()), momentum);
    kept_var.mul_(1 - momentum).add_(unbiased.to(kept_var.scalar_type()), momentum);
  }
  at::Tensor out = centred * at::rsqrt(variance + eps).view(shape);
  if (weight.has_value() && weight->defined()) out = out * weight->view(shape);
  if (bias.has_value() && bias->defined()) out = out + bias->view(shape);
  return out.to(input.scalar_type());
}

}  // namespace

extern "C" {

char* lethe_share_batch_norm(LetheGroup* group) {
  return guarded([&] {
    if (group != nullptr) {
      // Lives as long as the process: its end would put libtorch's kernel back.
      static const auto* replaced = [] {
        auto libraries = new std::vector<std::unique_ptr<torch::Library>>();
        for (auto key : {c10::DispatchKey::AutogradCPU, c10::DispatchKey::AutogradCUDA}) {
          libraries->push_back(
              std::make_unique<torch::Library>(torch::Library::IMPL, "aten", key, __FILE__, __LINE__));
          libraries->back()->impl("batch_norm", TORCH_FN(batch_norm));
        }
        return libraries;
      }();
      (void)replaced;
    }
    shared = group == nullptr ? nullptr : group->group.get();
    counts = 1;
  });
}

void lethe_batch_norm_counts(int on) { counts = on != 0 ? 1 : 0; }
}
