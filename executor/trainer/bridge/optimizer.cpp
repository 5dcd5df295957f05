#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <memory>
#include <vector>

#include "bridge.h"
#include "guard.h"

namespace {

using Tensors = std::vector<at::Tensor>;

enum Kind { kAdam = 0, kAdamW = 1, kSgd = 2, kRmsprop = 3 };

// PyTorch's defaults that have no setting of their own.
constexpr double kBeta2 = 0.999;
constexpr double kEps = 1e-8;
constexpr double kAlpha = 0.99;

// Parameters of one dtype with their state: the fused kernels take one dtype at a time. `first` is Adam's
// first moment or the momentum buffer, `second` the mean square.
struct Group {
  Tensors parameters, first, second, steps;
  // The parameters' places in the list that the optimizer was made with.
  std::vector<size_t> places;
};

// The members of a group that have a gradient, as PyTorch skips the others.
struct Active {
  Tensors parameters, gradients, first, second, steps;
};

Active active(const Group& group) {
  Active found;
  const size_t n = group.parameters.size();
  for (Tensors* list : {&found.parameters, &found.gradients, &found.first, &found.second, &found.steps})
    list->reserve(n);
  for (size_t i = 0; i < n; i++) {
    const at::Tensor& gradient = group.parameters[i].grad();
    if (!gradient.defined()) continue;
    found.parameters.push_back(group.parameters[i]);
    found.gradients.push_back(gradient);
    if (!group.first.empty()) found.first.push_back(group.first[i]);
    if (!group.second.empty()) found.second.push_back(group.second[i]);
    if (!group.steps.empty()) found.steps.push_back(group.steps[i]);
  }
  return found;
}

void count_step(Tensors& steps) {
  if (steps.empty()) return;
  if (!steps[0].is_cpu()) return at::_foreach_add_(steps, 1);
  for (at::Tensor& step : steps) *step.data_ptr<float>() += 1;
}

// torch.nn.utils.clip_grad_norm_.
void clip_gradients(std::vector<Active>& groups, double clip) {
  Tensors norms;
  for (Active& group : groups) {
    if (group.gradients.empty()) continue;
    for (at::Tensor& norm : at::_foreach_norm(group.gradients, 2)) norms.push_back(norm.to(at::kFloat));
  }
  if (norms.empty()) return;
  const at::Tensor total = at::linalg_vector_norm(at::stack(norms), 2);
  const at::Tensor factor = total.add(1e-6).reciprocal_().mul_(clip).clamp_max_(1.0);
  for (Active& group : groups)
    if (!group.gradients.empty()) at::_foreach_mul_(group.gradients, factor);
}

void rmsprop(Active& group, double lr, double momentum, double weight_decay) {
  for (size_t i = 0; i < group.parameters.size(); i++) {
    at::Tensor& parameter = group.parameters[i];
    at::Tensor gradient = group.gradients[i];
    if (weight_decay != 0) gradient = gradient.add(parameter, weight_decay);
    group.second[i].mul_(kAlpha).addcmul_(gradient, gradient, 1 - kAlpha);
    const at::Tensor mean = group.second[i].sqrt().add_(kEps);
    if (momentum > 0) {
      group.first[i].mul_(momentum).addcdiv_(gradient, mean);
      parameter.add_(group.first[i], -lr);
    } else {
      parameter.addcdiv_(gradient, mean, -lr);
    }
  }
}

}  // namespace

struct LetheOptimizer {
  Kind kind;
  double weight_decay;
  double clip;
  std::vector<Group> groups;
};

extern "C" {

char* lethe_optimizer_new(
    int kind,
    const at::Tensor* const* parameters,
    size_t count,
    double weight_decay,
    double clip,
    int keeps_momentum,
    LetheOptimizer** out) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto made = std::make_unique<LetheOptimizer>();
    made->kind = static_cast<Kind>(kind);
    made->weight_decay = weight_decay;
    made->clip = clip;
    const bool adam = kind == kAdam || kind == kAdamW;
    for (size_t i = 0; i < count; i++) {
      const at::Tensor& parameter = *parameters[i];
      Group* group = nullptr;
      for (Group& candidate : made->groups)
        if (candidate.parameters[0].scalar_type() == parameter.scalar_type()) group = &candidate;
      if (!group) group = &made->groups.emplace_back();
      group->parameters.push_back(parameter);
      group->places.push_back(i);
      if (adam || keeps_momentum) group->first.push_back(at::zeros_like(parameter));
      if (adam || kind == kRmsprop) group->second.push_back(at::zeros_like(parameter));
      if (adam) group->steps.push_back(at::zeros({}, parameter.options().dtype(at::kFloat)));
    }
    *out = made.release();
  });
}

// States are named as in PyTorch. A parameter that never had a gradient has its zeros here, where PyTorch has
// nothing yet: both go on alike.
char* lethe_optimizer_state(const LetheOptimizer* optimizer, void* context, lethe_state_callback callback) {
  return guarded([&] {
    const bool adam = optimizer->kind == kAdam || optimizer->kind == kAdamW;
    for (const Group& group : optimizer->groups) {
      const auto each = [&](const char* name, const Tensors& tensors) {
        for (size_t i = 0; i < tensors.size(); i++)
          callback(context, name, group.places[i], new at::Tensor(tensors[i]));
      };
      each(adam ? "exp_avg" : "momentum_buffer", group.first);
      each(adam ? "exp_avg_sq" : "square_avg", group.second);
      each("step", group.steps);
    }
  });
}

void lethe_optimizer_free(LetheOptimizer* optimizer) { delete optimizer; }

char* lethe_optimizer_step(LetheOptimizer* optimizer, double lr, double momentum) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<Active> groups;
    groups.reserve(optimizer->groups.size());
    for (const Group& group : optimizer->groups) groups.push_back(active(group));
    if (optimizer->clip > 0) clip_gradients(groups, optimizer->clip);
    const double decay = optimizer->weight_decay;
    for (Active& g : groups) {
      if (g.parameters.empty()) continue;
      count_step(g.steps);
      switch (optimizer->kind) {
        case kAdam:
          at::_fused_adam_(
              g.parameters, g.gradients, g.first, g.second, {}, g.steps, lr, momentum, kBeta2, decay, kEps, false,
              false);
          break;
        case kAdamW:
          at::_fused_adamw_(
              g.parameters, g.gradients, g.first, g.second, {}, g.steps, lr, momentum, kBeta2, decay, kEps, false,
              false);
          break;
        case kSgd:
          // A buffer of zeros gives the same first step as PyTorch's missing one, as there is no dampening.
          at::_fused_sgd_(
              g.parameters, g.gradients, g.first, decay, g.first.empty() ? 0.0 : momentum, lr, 0.0, false, false,
              false);
          break;
        case kRmsprop:
          rmsprop(g, lr, g.first.empty() ? 0.0 : momentum, decay);
          break;
      }
    }
    for (const Group& group : optimizer->groups)
      for (const at::Tensor& parameter : group.parameters) parameter.mutable_grad().reset();
  });
}
}
