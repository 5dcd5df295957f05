// Mixed precision as PyTorch's autocast.
#include <ATen/autocast_mode.h>

#include "bridge.h"
#include "guard.h"

extern "C" {

char* lethe_autocast(int device, int on) {
  return guarded([&] {
    const auto type = device < 0 ? at::kCPU : at::kCUDA;
    if (on != 0) {
      at::autocast::set_autocast_dtype(type, at::kBFloat16);
      at::autocast::set_autocast_enabled(type, true);
      at::autocast::increment_nesting();
    } else {
      // Weights are cast once in a pass; the next one has others.
      if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
      at::autocast::set_autocast_enabled(type, false);
    }
  });
}
}
