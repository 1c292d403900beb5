#pragma once

#include <cstdlib>  // __GLIBC__

// One copy of a loop for each instruction set, chosen by the processor at load time. Sums are not contracted
// (-ffp-contract=off), so every copy gives the same bits.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(JENGA_NO_CLONES)
#define JENGA_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define JENGA_CLONES
#endif
