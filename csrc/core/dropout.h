// Dropout from a counter-based generator: whether an element is kept follows from the seed and its place alone, so no
// mask is ever stored, and a backward pass, a checkpoint or another device finds the same one.
#pragma once

#include <cstdint>

namespace jenga::core {

// Element (row, column) of a (M, K) tensor takes 16 bits of Philox4x32 with 7 rounds (Salmon et al. 2011, table 2: the
// fewest that pass BigCrush): key = seed, counter = (8 * (column / 64) + column % 8, row, row >> 32, 0), word
// (column / 8) % 4, its upper half where column % 64 >= 32. It is dropped where they are below the threshold.
// kernels/lora_linear/reference.py has the same in PyTorch, triton_kernel.py in Triton.
struct Dropout {
  uint64_t seed = 0;
  uint32_t threshold = 0;  // of 65,536; 0: nothing is dropped

  bool drops() const { return threshold != 0; }
};

inline constexpr int64_t dropout_group = 64;
inline constexpr int philox_rounds = 7;

}  // namespace jenga::core
