// Inside the bridge: a process group, and how what waits for others is named.
#pragma once
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

struct LetheGroup {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
};

// Sums a tensor over the ranks, in its place.
void lethe_sum(const c10::intrusive_ptr<c10d::ProcessGroup>& group, at::Tensor& tensor);
