// The Python module jenga._C. Importing it registers the ops; what is not a tensor op is bound here.
#include <pybind11/pybind11.h>

#include <string>

#include "rows.h"

namespace py = pybind11;

namespace {

std::string cpu_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return "avx512";
  if (__builtin_cpu_supports("avx2")) return "avx2";
  return "x86-64";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "generic";
#endif
}

py::dict build_info() {
  py::dict info;
  info["version"] = JENGA_VERSION;
  info["compiler"] = JENGA_COMPILER;
  info["flags"] = JENGA_FLAGS;
  info["cpu_isa"] = cpu_isa();
  info["torch_built_with"] = JENGA_TORCH_BUILD;
  info["torch_needed"] = "2.11";
  info["cuda_library_built"] = static_cast<bool>(JENGA_CUDA_BUILT);
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Jenga's compiled kernels; import torch first.";
  m.def("build_info", &build_info,
        "How this library was built: version, compiler, flags, torch_built_with, torch_needed (oldest that loads it), "
        "cuda_library_built, and cpu_isa, the widest instruction set of the processor it runs on.");
  bind_rows(m);
}
