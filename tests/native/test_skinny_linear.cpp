// Drives csrc/core/vector/skinny_linear.cpp under sanitizers: the three products at odd sizes against plain sums, in
// buffers that are exactly as long as they must be.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/skinny_linear.h"

namespace {

namespace core = jenga::core;

int n_failed = 0;

std::vector<float> make_matrix(int64_t n_values, double phase) {
  std::vector<float> values;
  values.reserve(n_values);
  for (int64_t place = 0; place < n_values; ++place) {
    values.push_back(static_cast<float>(std::sin(0.7 * static_cast<double>(place) + phase)));
  }
  return values;
}

void expect_close(float got, double wanted, const char* product) {
  // Sums of up to 400 products of at most 1, each rounded to float32.
  if (!(std::abs(got - wanted) < 1e-4)) {
    std::fprintf(stderr, "FAILED: %s: %g, not %g\n", product, got, wanted);
    ++n_failed;
  }
}

void check(int64_t n_rows, int64_t n_outputs, int64_t n_inputs) {
  const int64_t stride = n_inputs + 3;
  // The last row ends with its values, not with its stride.
  const auto x = make_matrix(n_rows == 0 ? 0 : n_rows * stride - 3, 0.1);
  const auto weight = make_matrix(n_outputs * n_inputs, 0.2);
  const auto bias = make_matrix(n_outputs, 0.3);
  const auto grad = make_matrix(n_rows * n_outputs, 0.4);
  std::vector<float> y(n_rows * n_outputs);
  std::vector<float> dx(n_rows * n_inputs);
  std::vector<float> dweight(n_outputs * n_inputs, 42);
  const core::Matrix<const float> rows{x.data(), stride};
  const core::Matrix<const float> w{weight.data(), n_inputs};
  const core::Matrix<const float> g{grad.data(), n_outputs};
  const auto& kernels = core::skinny_linear_kernels<float>();
  const int64_t half = n_rows / 2;
  kernels.narrow(rows, w, bias.data(), n_outputs, n_inputs, 0, half, {}, {y.data(), n_outputs});
  kernels.narrow(rows, w, bias.data(), n_outputs, n_inputs, half, n_rows, {}, {y.data(), n_outputs});
  kernels.widen(g, w, nullptr, n_outputs, n_inputs, 0, half, {}, false, {dx.data(), n_inputs});
  kernels.widen(g, w, nullptr, n_outputs, n_inputs, half, n_rows, {}, false, {dx.data(), n_inputs});
  kernels.reduce(g, rows, n_outputs, 0, n_rows, 0, n_inputs, {}, false, {dweight.data(), n_inputs});
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t output = 0; output < n_outputs; ++output) {
      double sum = bias[output];
      for (int64_t k = 0; k < n_inputs; ++k) {
        sum += double(x[row * stride + k]) * weight[output * n_inputs + k];
      }
      expect_close(y[row * n_outputs + output], sum, "forward");
    }
    for (int64_t k = 0; k < n_inputs; ++k) {
      double sum = 0;
      for (int64_t output = 0; output < n_outputs; ++output) {
        sum += double(grad[row * n_outputs + output]) * weight[output * n_inputs + k];
      }
      expect_close(dx[row * n_inputs + k], sum, "gradient of x");
    }
  }
  for (int64_t output = 0; output < n_outputs; ++output) {
    for (int64_t k = 0; k < n_inputs; ++k) {
      double sum = 0;
      for (int64_t row = 0; row < n_rows; ++row) {
        sum += double(grad[row * n_outputs + output]) * x[row * stride + k];
      }
      expect_close(dweight[output * n_inputs + k], sum, "gradient of weight");
    }
  }
}

}  // namespace

int main() {
  for (const int64_t n_rows : {0, 1, 5, 130, 259}) {
    for (const int64_t n_outputs : {1, 2, 7, 34, 128}) {
      for (const int64_t n_inputs : {1, 8, 97, 200}) {
        check(n_rows, n_outputs, n_inputs);
      }
    }
  }
  std::printf("skinny_linear on %s: %d failures\n", core::isa_name(core::isa()), n_failed);
  return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
