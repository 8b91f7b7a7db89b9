// What a library of products lacks: the emulator's leaves it out.
#include <gtest/gtest.h>

#include "ops/activation/activation.h"
#include "ops/cuda/emulated/machine.h"
#include "ops/cuda/gemm.h"
#include "ops/matmul/matmul.h"
#include "tests/ops/cuda/operators.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using cuda::ProductAlgorithm;
using cuda::ProductShape;
using testing::random_values;

/// Shapes that no other test has: what a library has of a shape is asked once.
class ProductLibrary : public ::testing::Test {
 protected:
  void TearDown() override { emulated::options() = {}; }
};

TEST_F(ProductLibrary, GeluIsAPassOfItsOwnWhereTheLibraryHasItNotWithinAProduct) {
  constexpr int64_t k = 32;
  const auto run = [](int64_t m, int64_t n, bool backward) {
    std::vector<double> a = random_values(m * k, 1), b = random_values(k * n, 2), bias = random_values(n, 3);
    std::vector<double> before = random_values(m * n, 4);
    const testing::DeviceArray on_a(a, DType::kBF16), on_b(b, DType::kBF16), on_bias(bias, DType::kBF16);
    const testing::DeviceArray pre(before, DType::kBF16), out(m * n, DType::kBF16);
    std::vector<double> exact(static_cast<size_t>(m * n));
    reference::matmul(m, n, k, a, false, b, false, exact, false);
    for (size_t i = 0; i < exact.size(); ++i) {
      exact[i] = backward ? exact[i] * reference::activation_derivative(Activation::kGelu, before[i])
                          : reference::activation(Activation::kGelu, exact[i] + bias[i % bias.size()]);
    }
    const cuda::Gemm product{.m = m,
                             .n = n,
                             .k = k,
                             .a = on_a.data(),
                             .b = on_b.data(),
                             .bias = backward ? nullptr : on_bias.data(),
                             .pre_activation = backward ? nullptr : pre.data(),
                             .gelu_backward = backward ? pre.data() : nullptr,
                             .out = out.data()};
    const std::vector<ProductAlgorithm> algorithms = cuda::product_algorithms(shape_of(product), 16);
    EXPECT_TRUE(cuda::is_usable(shape_of(product), algorithms.back()));
    for (const ProductAlgorithm* algorithm : {static_cast<const ProductAlgorithm*>(nullptr), &algorithms.back()}) {
      cuda::Stream stream;
      cuda::gemm(stream, product, algorithm);
      const std::vector<double> actual = out.read(stream);
      for (size_t i = 0; i < exact.size(); ++i) {
        ASSERT_NEAR(actual[i], exact[i], (1.0 + std::abs(exact[i])) / 64) << i;
      }
    }
  };
  run(8, 264, false);
  run(8, 264, true);
  emulated::options().gelu_epilogue = false;
  run(16, 264, false);
  run(16, 264, true);
}

}  // namespace
}  // namespace tsugi
