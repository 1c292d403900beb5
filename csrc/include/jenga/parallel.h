// Work over torch's threads. What runs there neither throws nor allocates, which could throw: it runs below a C
// interface, in OpenMP's region, where an exception may end the process. So it is marked noexcept, touches raw pointers
// and what was made before, and asks nothing of a Tensor (csrc/README.md).
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>

namespace jenga {

// Calls work(begin, end) for ranges of [0, n), each of at least `grain` but the last; not at all where n is 0.
template <typename Work>
void parallel_for(int64_t n, int64_t grain, const Work& work) {
  static_assert(noexcept(work(int64_t{}, int64_t{})), "mark it noexcept, and see the top of this file");
  if (n > grain) {
    torch::stable::parallel_for(0, n, grain, work);
  } else if (n > 0) {
    work(int64_t{0}, n);
  }
}

// How many parts `for_parts` is to make of [0, n): one for each thread, each of at least `grain`.
inline int64_t part_count(int64_t n, int64_t grain) {
  const int64_t most = (n + grain - 1) / grain;
  return most <= 1 ? most : std::min<int64_t>(most, torch::stable::get_num_threads());
}

// Calls work(part, begin, end) for `n_parts` ranges of [0, n): for work that needs memory, made before for each part.
template <typename Work>
void for_parts(int64_t n, int64_t n_parts, const Work& work) {
  static_assert(noexcept(work(int64_t{}, int64_t{}, int64_t{})), "mark it noexcept, and see the top of this file");
  const int64_t size = n_parts > 0 ? (n + n_parts - 1) / n_parts : 0;
  parallel_for(n_parts, 1, [&](int64_t first, int64_t last) noexcept {
    for (int64_t part = first; part < last; ++part) {
      work(part, std::min(n, part * size), std::min(n, (part + 1) * size));
    }
  });
}

}  // namespace jenga
