// Vectors of the instruction set that a file of core/vector/ is compiled for: JENGA_ISA names it, JENGA_VECTOR_BYTES is
// its width. A file that includes this may use no inline function of the standard library: the linker keeps one copy of
// such a function for all files, and it could be the one for a wider processor.
#pragma once

#include <cstddef>
#include <cstdint>

// The name of this file's copy of a table of kernels: see JENGA_VECTOR_TABLE in core/isa.h.
#define JENGA_PASTE(name, isa) name##_##isa
#define JENGA_PASTE_EXPANDED(name, isa) JENGA_PASTE(name, isa)
#define JENGA_TABLE(name) JENGA_PASTE_EXPANDED(name, JENGA_ISA)

namespace jenga::core::JENGA_ISA {

template <typename T>
struct VectorTypes;
template <>
struct VectorTypes<float> {
  typedef float values __attribute__((vector_size(JENGA_VECTOR_BYTES)));
  typedef int32_t bits __attribute__((vector_size(JENGA_VECTOR_BYTES)));
};
template <>
struct VectorTypes<double> {
  typedef double values __attribute__((vector_size(JENGA_VECTOR_BYTES)));
  typedef int64_t bits __attribute__((vector_size(JENGA_VECTOR_BYTES)));
};

// Vec<float> and Vec<double> take the operators + - * / and, giving masks, < > ==.
template <typename T>
using Vec = typename VectorTypes<T>::values;
// The bits of a vector as signed integers of the same width; comparisons give 0 or -1 in each.
template <typename T>
using Bits = typename VectorTypes<T>::bits;

template <typename T>
inline constexpr int lanes = JENGA_VECTOR_BYTES / int(sizeof(T));

template <typename T>
inline Vec<T> load(const T* from) {
  Vec<T> vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}

// The first `count` values; the other lanes are 0.
template <typename T>
inline Vec<T> load_first(const T* from, int64_t count) {
  Vec<T> vector{};
  __builtin_memcpy(&vector, from, static_cast<size_t>(count) * sizeof(T));
  return vector;
}

template <typename T>
inline void store(T* to, Vec<T> vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}

template <typename T>
inline void store_first(T* to, Vec<T> vector, int64_t count) {
  __builtin_memcpy(to, &vector, static_cast<size_t>(count) * sizeof(T));
}

// `value` in every lane; subtracting from it, and not adding to it, a zero keeps the sign of -0.
template <typename T>
inline Vec<T> splat(T value) {
  return value - Vec<T>{};
}

template <typename T>
inline Vec<T> vector_max(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;
}

// The sum of all lanes, by halves.
inline float lane_sum(Vec<float> vector) {
#if JENGA_VECTOR_BYTES == 64
  vector += __builtin_shufflevector(vector, vector, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  vector += __builtin_shufflevector(vector, vector, 4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15);
#elif JENGA_VECTOR_BYTES == 32
  vector += __builtin_shufflevector(vector, vector, 4, 5, 6, 7, 0, 1, 2, 3);
#endif
  return (vector[0] + vector[2]) + (vector[1] + vector[3]);
}

inline double lane_sum(Vec<double> vector) {
  double sum = vector[0];
  for (int lane = 1; lane < lanes<double>; ++lane) {
    sum += vector[lane];
  }
  return sum;
}

}  // namespace jenga::core::JENGA_ISA
