#include "core/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace jenga::core {
namespace {

Isa widest() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return Isa::avx512;
  }
  return has_avx2 ? Isa::avx2 : Isa::baseline;
#else
  return Isa::baseline;
#endif
}

Isa choose() {
  const Isa here = widest();
  const char* wanted = std::getenv("JENGA_CPU_ISA");
  if (wanted == nullptr || *wanted == '\0') {
    return here;
  }
  for (const Isa each : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (each <= here && std::string(wanted) == isa_name(each)) {
      return each;
    }
  }
  throw std::invalid_argument("JENGA_CPU_ISA: got '" + std::string(wanted) +
                              "'; allowed: baseline, avx2 or avx512, and no wider than this processor's " +
                              isa_name(here));
}

}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

bool multiplies_bfloat16() {
#if defined(__x86_64__)
  return isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

const char* isa_name(Isa isa) { return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "baseline"; }

}  // namespace jenga::core
