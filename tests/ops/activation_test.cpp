#include "ops/activation/activation.h"

#include <limits>

#include "ops/base/vector_math.h"
#include "ops/matmul/matmul.h"
#include "tests/ops/golden.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::max_difference;
using testing::random_values;
using testing::to_doubles;
using testing::to_tensor;

TEST(VectorMath, FastExpIsAccurateAndStaysFiniteAtItsEnds) {
  double worst = 0.0;
  for (float x = -87.3f; x < 88.3f; x += 0.00137f) {
    const double expected = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::fabs(static_cast<double>(fast_exp(x)) - expected) / expected);
  }
  EXPECT_LE(worst, 1.5e-7);
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  for (const float x : {-87.4f, -100.0f, -1e30f, -std::numeric_limits<float>::infinity()}) {
    EXPECT_LE(fast_exp(x), 1.2e-38f) << x;
    EXPECT_GE(fast_exp(x), 0.0f) << x;
  }
  for (const float x : {88.3f, 88.5f, 100.0f, 1e30f, std::numeric_limits<float>::infinity()}) {
    EXPECT_TRUE(std::isfinite(fast_exp(x))) << x;
    EXPECT_GE(fast_exp(x), 2.2e38f) << x;
  }
}

TEST(VectorMath, FastTanhIsAccurateAndOdd) {
  double worst = 0.0;
  for (float x = -20.0f; x < 20.0f; x += 0.00037f) {
    worst = std::max(worst, std::fabs(static_cast<double>(fast_tanh(x)) - std::tanh(static_cast<double>(x))));
    EXPECT_EQ(fast_tanh(-x), -fast_tanh(x));
  }
  EXPECT_LE(worst, 2e-7);
  EXPECT_EQ(fast_tanh(1e30f), 1.0f);
}

TEST(VectorMath, FastSigmoidKeepsItsRelativeAccuracyInTheTail) {
  for (float x = -80.0f; x < 80.0f; x += 0.0113f) {
    const double expected = 1.0 / (1.0 + std::exp(-static_cast<double>(x)));
    ASSERT_NEAR(static_cast<double>(fast_sigmoid(x)), expected, 4e-7 * expected) << x;
  }
}

TEST(VectorMath, GeluAndItsDerivativeEqualTheReference) {
  for (float x = -30.0f; x < 30.0f; x += 0.00311f) {
    const auto exact = static_cast<double>(x);
    ASSERT_NEAR(static_cast<double>(gelu_tanh(x)), reference::activation(Activation::kGelu, exact),
                2e-7 * std::max(1.0, std::fabs(exact)));
    ASSERT_NEAR(static_cast<double>(gelu_tanh_derivative(x)),
                reference::activation_derivative(Activation::kGelu, exact), 5e-7)
        << x;
  }
}

TEST(Gelu, ReferenceEqualsPyTorch) {
  const testing::Golden golden = testing::read_golden("ops_basic.txt");
  const std::vector<double>& x = golden.at("gelu.x");
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(reference::activation(Activation::kGelu, x[i]), golden.at("gelu.y")[i], 1e-13);
    EXPECT_NEAR(1.5 * reference::activation_derivative(Activation::kGelu, x[i]), golden.at("gelu.d_x_for_1.5")[i],
                1e-13);
  }
}

TEST(Gelu, ReferenceDerivativeIsTheCentralDifference) {
  constexpr double kStep = 1e-5;
  for (double x = -6.0; x < 6.0; x += 0.01) {
    const double slope =
        (reference::activation(Activation::kGelu, x + kStep) - reference::activation(Activation::kGelu, x - kStep)) /
        (2 * kStep);
    ASSERT_NEAR(reference::activation_derivative(Activation::kGelu, x), slope, 1e-9) << x;
  }
}

TEST(GeluBackward, MultipliesByTheDerivative) {
  for (const int threads : {1, 3}) {
    const CpuContext context(threads);
    for (const DType type : {DType::kF32, DType::kBF16}) {
      for (const int64_t count : {1, 3, 17, 130, 8192, 20001}) {
        SCOPED_TRACE(std::to_string(count) + name_of(type));
        std::vector<double> x_values = random_values(count, 1, 2.0);
        std::vector<double> d_values = random_values(count, 2);
        const Tensor x = to_tensor(context, x_values, {count}, type);
        const Tensor d_out = to_tensor(context, d_values, {count}, type);
        const Tensor d_pre = context.context.empty({count}, type);
        activation_backward(context, Activation::kGelu, x, d_out, d_pre);
        const std::vector<double> actual = to_doubles(d_pre);
        const double rounding = type == DType::kBF16 ? 0x1p-8 : 1e-6;
        for (size_t i = 0; i < actual.size(); ++i) {
          const double expected = d_values[i] * reference::activation_derivative(Activation::kGelu, x_values[i]);
          ASSERT_NEAR(actual[i], expected, rounding * std::fabs(expected) + 1e-6 * std::fabs(d_values[i]));
        }
        activation_backward(context, Activation::kGelu, x, d_out, d_out);
        EXPECT_TRUE(testing::same_bits(d_out, d_pre)) << "in place";
      }
    }
  }
}

}  // namespace
}  // namespace tsugi
