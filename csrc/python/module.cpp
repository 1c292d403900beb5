// The Python module jenga._C. Importing it registers the ops; what is not a tensor op is bound here.
#include <pybind11/pybind11.h>

#include "core/isa.h"
#include "rows.h"

namespace py = pybind11;

namespace {

py::dict build_info() {
  py::dict info;
  info["version"] = JENGA_VERSION;
  info["compiler"] = JENGA_COMPILER;
  info["flags"] = JENGA_FLAGS;
  info["cpu_isa"] = jenga::core::isa_name(jenga::core::isa());
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
        "cuda_library_built, and cpu_isa, the instruction set that its kernels on vectors use: baseline, avx2 or "
        "avx512.");
  bind_rows(m);
}
