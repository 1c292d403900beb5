// The random bits of core/dropout.h for 64 columns at once, eight counters side by side.
#pragma once

#include "core/dropout.h"
#include "core/vector/vec.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace jenga::core::JENGA_ISA {

// Eight counters, in as many registers as it takes.
typedef uint32_t Words __attribute__((vector_size(32)));

// The upper and lower halves of the products of eight words with a constant.
inline void multiply_wide(const Words& a, uint32_t factor, Words* high, Words* low) {
#if defined(__AVX2__)
  const __m256i x = (__m256i)a;
  const __m256i f = _mm256_set1_epi32(static_cast<int>(factor));
  const __m256i even = _mm256_mul_epu32(x, f);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), f);
  *low = (Words)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
  *high = (Words)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
#else
  for (int lane = 0; lane < 8; ++lane) {
    const uint64_t product = static_cast<uint64_t>(a[lane]) * factor;
    (*high)[lane] = static_cast<uint32_t>(product >> 32);
    (*low)[lane] = static_cast<uint32_t>(product);
  }
#endif
}

// Writes 64 words: all bits set where the element of `group` (columns 64 * group ...) in `row` is kept, else 0.
inline void keep_masks(Dropout dropout, int64_t row, int64_t group, uint32_t* masks) {
  const Words lanes_ = {0, 1, 2, 3, 4, 5, 6, 7};
  const Words zero{};
  Words c0 = lanes_ + static_cast<uint32_t>(group * 8);
  Words c1 = zero + static_cast<uint32_t>(row);
  Words c2 = zero + static_cast<uint32_t>(static_cast<uint64_t>(row) >> 32);
  Words c3 = zero;
  uint32_t k0 = static_cast<uint32_t>(dropout.seed);
  uint32_t k1 = static_cast<uint32_t>(dropout.seed >> 32);
#pragma GCC unroll 8
  for (int round = 0; round < philox_rounds; ++round) {
    Words high0;
    Words low0;
    Words high1;
    Words low1;
    multiply_wide(c0, 0xD2511F53U, &high0, &low0);
    multiply_wide(c2, 0xCD9E8D57U, &high1, &low1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  const Words words[4] = {c0, c1, c2, c3};
#pragma GCC unroll 4
  for (int word = 0; word < 4; ++word) {
    const Words low = (Words)((words[word] & 0xffffU) >= dropout.threshold);
    const Words high = (Words)((words[word] >> 16) >= dropout.threshold);
    __builtin_memcpy(masks + word * 8, &low, sizeof low);
    __builtin_memcpy(masks + 32 + word * 8, &high, sizeof high);
  }
}

inline Vec<float> masked(Vec<float> values, const uint32_t* masks) {
  Bits<float> keep;
  __builtin_memcpy(&keep, masks, sizeof keep);
  return (Vec<float>)((Bits<float>)values & keep);
}

inline Vec<double> masked(Vec<double> values, const uint32_t* masks) {
  for (int lane = 0; lane < lanes<double>; ++lane) {
    values[lane] = masks[lane] != 0 ? values[lane] : 0.0;
  }
  return values;
}

}  // namespace jenga::core::JENGA_ISA
