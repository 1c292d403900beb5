// exp and log of vectors. float32: polynomials with the coefficients of the Cephes library (S. Moshier), within about
// one unit in the last place. float64: the C library, lane by lane.
#pragma once

#include "core/vector/vec.h"

namespace jenga::core::JENGA_ISA {

// e^x for any x; results below the smallest normal number are 0.
inline Vec<float> vector_exp(Vec<float> x) {
  const Vec<float> highest = splat(88.722839F);
  const Vec<float> lowest = splat(-87.336545F);
  // NaN stays: both comparisons are false for it.
  const Vec<float> bounded = x > highest ? highest : x < lowest ? lowest : x;
  // Adding 1.5 * 2^23 leaves the nearest integer in the last bits.
  const Vec<float> shifter = splat(12582912.0F);
  const Vec<float> shifted = bounded * 1.44269504F + shifter;
  const Vec<float> n = shifted - shifter;
  Vec<float> r = bounded - n * 0.693359375F;
  r = r + n * 2.12194440e-4F;
  Vec<float> p = splat(1.9875691500e-4F);
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const Vec<float> mantissa = p * (r * r) + r + 1.0F;
  // 2^n in two factors: at the highest x, n is 128, which no exponent of a normal number holds.
  const Bits<float> integer = (Bits<float>)shifted - (Bits<float>)shifter;
  const Bits<float> half = integer >> 1;
  const Vec<float> first = (Vec<float>)((half + 127) << 23);
  const Vec<float> second = (Vec<float>)((integer - half + 127) << 23);
  const Vec<float> result = mantissa * first * second;
  const Vec<float> infinity = splat(__builtin_inff());
  return x < lowest ? Vec<float>{} : x > highest ? infinity : result;
}

// log x for x > 0 that is a normal number (or infinity); NaN stays.
inline Vec<float> vector_log(Vec<float> x) {
  const Bits<float> bits = (Bits<float>)x;
  Bits<float> exponent = (bits >> 23) - 126;
  // The mantissa in [0.5, 1), then in [sqrt(0.5), sqrt(2)).
  Vec<float> m = (Vec<float>)((bits & 0x007fffff) | 0x3f000000);
  const Bits<float> is_small = m < 0.707106781F;
  exponent = exponent + is_small;
  m = is_small ? m + m : m;
  m = m - 1.0F;
  const Vec<float> e = __builtin_convertvector(exponent, Vec<float>);
  Vec<float> p = splat(7.0376836292e-2F);
  p = p * m - 1.1514610310e-1F;
  p = p * m + 1.1676998740e-1F;
  p = p * m - 1.2420140846e-1F;
  p = p * m + 1.4249322787e-1F;
  p = p * m - 1.6668057665e-1F;
  p = p * m + 2.0000714765e-1F;
  p = p * m - 2.4999993993e-1F;
  p = p * m + 3.3333331174e-1F;
  const Vec<float> square = m * m;
  Vec<float> y = p * m * square;
  y = y - e * 2.12194440e-4F;
  y = y - 0.5F * square;
  const Vec<float> result = m + y + e * 0.693359375F;
  const Vec<float> infinity = splat(__builtin_inff());
  return x == infinity ? infinity : x != x ? x : result;
}

inline Vec<double> vector_exp(Vec<double> x) {
  for (int lane = 0; lane < lanes<double>; ++lane) {
    x[lane] = __builtin_exp(x[lane]);
  }
  return x;
}

inline Vec<double> vector_log(Vec<double> x) {
  for (int lane = 0; lane < lanes<double>; ++lane) {
    x[lane] = __builtin_log(x[lane]);
  }
  return x;
}

// log(1 + t) for t >= 0, without the loss of digits that 1 + t alone has for a small t (Higham 2002, section 1.14.1).
template <typename V>
inline V vector_log1p(V t) {
  const V u = t + 1;
  const V exact = u - 1;
  // u == 1: t is below half a unit in the last place of 1, and log(1 + t) is t.
  return exact == 0 ? t : vector_log(u) * t / (exact == 0 ? t - t + 1 : exact);
}

template <typename V>
inline V vector_abs(V x) {
  return x < 0 ? -x : x;
}

}  // namespace jenga::core::JENGA_ISA
