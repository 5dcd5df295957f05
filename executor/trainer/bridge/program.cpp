#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <unordered_map>

#include "bridge.h"
#include "guard.h"

struct LetheProgram {
  explicit LetheProgram(torch::jit::Module loaded) : module(std::move(loaded)) {
    forward = module.find_method("forward");
  }
  torch::jit::Module module;
  std::optional<torch::jit::Method> forward;
};

namespace {

c10::Device device_of(int device) {
  return device < 0 ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device));
}

bool is_placeholder(const at::Tensor& tensor) {
  if (!tensor.has_storage() || tensor.numel() <= 1) return false;
  return tensor.storage().nbytes() < static_cast<size_t>(tensor.numel()) * tensor.element_size();
}

uint64_t storage_of(const at::Tensor& tensor) {
  if (!tensor.has_storage()) return 0;
  return reinterpret_cast<uint64_t>(tensor.storage().unsafeGetStorageImpl());
}

template <typename List>
void each(const List& list, int parameter, void* context, lethe_tensor_callback callback) {
  for (const auto& item : list) {
    if (!item.value.defined()) continue;
    callback(
        context, item.name.c_str(), parameter, is_placeholder(item.value), storage_of(item.value),
        new at::Tensor(item.value));
  }
}

using Object = c10::ivalue::Object;
struct Copies {
  std::unordered_map<const Object*, c10::intrusive_ptr<Object>> modules;
  // By memory: a tensor of one element is no placeholder, and may be tied like any other.
  std::unordered_map<const void*, at::Tensor> tensors;
};

at::Tensor copy_tensor(const at::Tensor& tensor, Copies& copies) {
  at::Tensor fresh = tensor.detach().clone().set_requires_grad(tensor.requires_grad());
  if (tensor.numel() == 0) return fresh;
  auto [found, added] = copies.tensors.try_emplace(tensor.const_data_ptr(), fresh);
  const at::Tensor& known = found->second;
  const bool same = known.sizes() == fresh.sizes() && known.scalar_type() == fresh.scalar_type();
  return !added && same ? known : fresh;
}

// A module of the same type, so that it shares the compiled methods. Placeholders are shared, as they are
// replaced and never written; everything else that a method could change is copied. (IValue::deepcopy would
// fill placeholders out to their full size, and take tensors that share memory for one tensor.)
c10::intrusive_ptr<Object> copy_module(const c10::intrusive_ptr<Object>& from, Copies& copies) {
  if (auto found = copies.modules.find(from.get()); found != copies.modules.end()) return found->second;
  auto to = from->copy();
  copies.modules.emplace(from.get(), to);
  for (size_t i = 0; i < from->type()->numAttributes(); i++) {
    const c10::IValue& value = from->getSlot(i);
    if (value.isTensor()) {
      const at::Tensor& tensor = value.toTensor();
      if (!tensor.defined() || is_placeholder(tensor)) continue;
      to->setSlot(i, copy_tensor(tensor, copies));
    } else if (value.isModule()) {
      to->setSlot(i, copy_module(value.toObject(), copies));
    } else {
      to->setSlot(i, value.deepcopy());
    }
  }
  return to;
}

// TorchScript would name the argument that is missing, and not why.
void check_arguments(const torch::jit::Method& forward, size_t inputs) {
  const auto& schema = forward.function().getSchema();
  const auto& arguments = schema.arguments();
  size_t needed = 0;
  for (size_t i = 1; i < arguments.size(); i++) needed += !arguments[i].default_value().has_value();
  const size_t most = schema.is_vararg() ? inputs : arguments.size() - 1;
  TORCH_CHECK(
      needed <= inputs && inputs <= most, "the module's forward takes ", most, " tensors and the dataset has ", inputs,
      " inputs: forward needs an argument for each input, in their order");
}

}  // namespace

extern "C" {

void lethe_text_free(char* text) { free(text); }

char* lethe_program_load(const char* path, int device, LetheProgram** out) {
  return guarded([&] { *out = new LetheProgram(torch::jit::load(std::string(path), device_of(device))); });
}

void lethe_program_free(LetheProgram* program) { delete program; }

char* lethe_program_copy(const LetheProgram* program, LetheProgram** out) {
  return guarded([&] { 
    Copies copies;
    *out = new LetheProgram(torch::jit::Module(copy_module(program->module._ivalue(), copies)));
  });
}

char* lethe_program_tensors(const LetheProgram* program, void* context, lethe_tensor_callback callback) {
  return guarded([&] {
    each(program->module.named_parameters(true), 1, context, callback);
    each(program->module.named_buffers(true), 0, context, callback);
  });
}

char* lethe_program_bind(LetheProgram* program, const char* name, const at::Tensor* tensor) {
  return guarded([&] {
    std::string path(name);
    torch::jit::Module owner = program->module;
    for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.')) {
      owner = owner.attr(path.substr(0, dot)).toModule();
      path = path.substr(dot + 1);
    }
    owner.setattr(path, *tensor);
  });
}

char* lethe_program_methods(const LetheProgram* program, void* context, lethe_name_callback callback) {
  return guarded([&] {
    for (const auto& method : program->module.get_methods()) callback(context, method.name().c_str());
  });
}

char* lethe_program_train(LetheProgram* program, int on) {
  return guarded([&] { program->module.train(on != 0); });
}

char* lethe_program_forward(
    LetheProgram* program, const at::Tensor* const* inputs, size_t count, at::Tensor** out) {
  return guarded([&] {
    TORCH_CHECK(program->forward.has_value(), "the module has no forward");
    check_arguments(*program->forward, count);
    std::vector<c10::IValue> arguments;
    // With room for the module itself, which the call puts first.
    arguments.reserve(count + 1);
    for (size_t i = 0; i < count; i++) arguments.emplace_back(*inputs[i]);
    c10::IValue answer = (*program->forward)(std::move(arguments));
    TORCH_CHECK(answer.isTensor(), "forward must return one tensor; it returned ", answer.tagKind());
    *out = new at::Tensor(std::move(answer).toTensor());
  });
}

char* lethe_program_step(
    LetheProgram* program,
    const char* method,
    const char* const* names,
    const at::Tensor* const* tensors,
    size_t count,
    void* context,
    lethe_entry_callback callback) {
  return guarded([&] {
    c10::Dict<std::string, at::Tensor> batch;
    for (size_t i = 0; i < count; i++) batch.insert(names[i], *tensors[i]);
    c10::IValue answer = program->module.get_method(method)({batch});
    if (answer.isTensor()) {
      callback(context, "", new at::Tensor(answer.toTensor()));
      return;
    }
    TORCH_CHECK(
        answer.isGenericDict(), method, " must return a tensor or a Dict[str, Tensor]; it returned ",
        answer.tagKind());
    for (const auto& entry : answer.toGenericDict()) {
      TORCH_CHECK(
          entry.key().isString() && entry.value().isTensor(), method,
          " must return a tensor or a Dict[str, Tensor]");
      callback(context, entry.key().toStringRef().c_str(), new at::Tensor(entry.value().toTensor()));
    }
  });
}
}
