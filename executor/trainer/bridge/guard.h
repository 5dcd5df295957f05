// Exceptions end here.
#pragma once
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

template <typename F>
char* guarded(F&& run) noexcept {
  try {
    run();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("libtorch threw something that is no exception");
  }
}
