#include "cuda/loader.h"

#include <dlfcn.h>

#include <cstdlib>
#include <mutex>

#include "cuda/calls.h"
#include "fastsoftmax/version.h"

namespace fastsoftmax::cuda {
namespace {

constexpr const char* kLibrary = "libfastsoftmax_cuda.so";
constexpr const char* kVariable = "FASTSOFTMAX_CUDA_LIBRARY";

struct Found {
  const Table* table = nullptr;
  std::string library;
  std::string reason;
};

std::string loader_error() {
  const char* const text = dlerror();
  return text == nullptr ? "unknown error" : text;
}

std::string directory_of_this_code() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&loader_error), &info) == 0) return {};
  const std::string path = info.dli_fname;
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

Found table_in(void* handle, const std::string& library) {
  using GetTable = const Table* (*)();
  const auto get = reinterpret_cast<GetTable>(dlsym(handle, kTableSymbol));
  if (get == nullptr) {
    dlclose(handle);
    return {nullptr, library, library + " is not a CUDA library of this version of fastsoftmax"};
  }
  const Table* const table = get();
  if (std::string(table->version) != FASTSOFTMAX_VERSION) {
    const std::string version = table->version;
    dlclose(handle);
    return {nullptr, library,
            library + " is of fastsoftmax " + version + ", expected " FASTSOFTMAX_VERSION};
  }
  if (table->call_sizes != call_sizes()) {
    dlclose(handle);
    return {nullptr, library, library + " was built from other sources of fastsoftmax"};
  }
  return {table, library, {}};
}

Found find() {
  const char* const named = std::getenv(kVariable);
  if (named != nullptr && *named != '\0') {
    void* const handle = dlopen(named, RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return table_in(handle, named);
    return {nullptr, {}, std::string(kVariable) + " cannot be loaded: " + loader_error()};
  }
  for (const std::string& library : {directory_of_this_code() + kLibrary, std::string(kLibrary)}) {
    void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return table_in(handle, library);
  }
  return {nullptr,
          {},
          std::string("the CUDA library of fastsoftmax is not installed (") + kLibrary + ", " +
              kVariable + ")"};
}

// Looked for until it is found, and then kept as long as the process lives.
Found found() {
  static std::mutex mutex;
  static Found kept;
  const std::lock_guard<std::mutex> lock(mutex);
  if (kept.table == nullptr) kept = find();
  return kept;
}

std::string error_text(const Table& table, int error) {
  std::string text = "CUDA error " + std::to_string(error) + ", " + table.error_text(error);
  constexpr int insufficient_driver = 35;
  if (error == insufficient_driver)
    text += " (no NVIDIA driver, or one older than the CUDA library of fastsoftmax needs)";
  return text;
}

}  // namespace

const Table& table() {
  const Found library = found();
  if (library.table == nullptr) throw Unavailable("no CUDA: " + library.reason);
  return *library.table;
}

void check(const Table& functions, int error) {
  if (error == 0) return;
  std::string text = error_text(functions, error);
  constexpr int invalid_device_function = 98;
  constexpr int no_kernel_image = 209;
  if (error == no_kernel_image || error == invalid_device_function)
    text += " (the CUDA library of fastsoftmax is for compute capabilities " +
            std::string(functions.architectures) + ")";
  throw Unavailable(text);
}

Status status() {
  const Found library = found();
  Status status;
  status.library = library.library;
  status.reason = library.reason;
  if (library.table == nullptr) return status;
  const Table& functions = *library.table;
  status.architectures = functions.architectures;
  int count = 0;
  if (const int error = functions.device_count(&count); error != 0) {
    status.reason = error_text(functions, error);
    return status;
  }
  for (int device = 0; device < count; ++device) {
    char name[256] = "unknown";
    functions.device_name(device, name, static_cast<int>(sizeof name));
    status.devices.emplace_back(name);
  }
  status.available = count > 0;
  if (count == 0) status.reason = "no CUDA device";
  return status;
}

int device_of(const void* data) {
  const Table& functions = table();
  int device = 0;
  check(functions, functions.device_of(data, &device));
  return device;
}

void order(int device, void* before, void* after) {
  const Table& functions = table();
  check(functions, functions.order(device, before, after));
}

}  // namespace fastsoftmax::cuda
