// The instruction set that the vector kernels run on. Everything in core/vector/ is compiled once for each; the widest
// that the processor has is chosen when it is first asked for. JENGA_CPU_ISA=baseline|avx2|avx512 narrows the choice.
#pragma once

namespace jenga::core {

enum class Isa { baseline, avx2, avx512 };

// Throws std::invalid_argument where JENGA_CPU_ISA names an instruction set that is unknown or not here.
Isa isa();

const char* isa_name(Isa isa);

// Whether the processor multiplies bfloat16 itself, so that torch's products of it are fast; false where JENGA_CPU_ISA
// is narrower than avx512.
bool multiplies_bfloat16();

// Declares the three copies of a table of kernels and a function `name()` that gives the chosen one.
#if defined(__x86_64__)
#define JENGA_VECTOR_TABLE(Table, name)                                  \
  extern const Table name##_baseline;                                    \
  extern const Table name##_avx2;                                        \
  extern const Table name##_avx512;                                      \
  inline const Table& name() {                                           \
    static const Table& chosen = isa() == Isa::avx512 ? name##_avx512    \
                                 : isa() == Isa::avx2 ? name##_avx2      \
                                                      : name##_baseline; \
    return chosen;                                                       \
  }
#else
#define JENGA_VECTOR_TABLE(Table, name) \
  extern const Table name##_baseline;   \
  inline const Table& name() { return name##_baseline; }
#endif

}  // namespace jenga::core
