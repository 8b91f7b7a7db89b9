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

constexpr Activation kActivations[] = {Activation::kGelu, Activation::kGeluErf,     Activation::kSilu,
                                       Activation::kRelu, Activation::kReluSquared, Activation::kTanh};

TEST(Activations, ReferencesEqualPyTorch) {
  const testing::Golden golden = testing::read_golden("family_ops.txt");
  const std::pair<const char*, Activation> cases[] = {
      {"gelu", Activation::kGelu}, {"gelu_erf", Activation::kGeluErf},         {"silu", Activation::kSilu},
      {"relu", Activation::kRelu}, {"relu_squared", Activation::kReluSquared}, {"tanh", Activation::kTanh}};
  const std::vector<double>& x = golden.at("activation.x");
  for (const auto& [name, activation] : cases) {
    const std::vector<double>& y = golden.at(std::string("activation.") + name);
    const std::vector<double>& d_x = golden.at(std::string("activation.") + name + ".d_x_for_1.5");
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(reference::activation(activation, x[i]), y[i], 1e-13) << name << x[i];
      EXPECT_NEAR(1.5 * reference::activation_derivative(activation, x[i]), d_x[i], 1e-13) << name << x[i];
    }
  }
}

TEST(Activations, ReferenceDerivativesAreCentralDifferences) {
  constexpr double kStep = 1e-5;
  for (const Activation activation : kActivations) {
    for (double x = -6.0; x < 6.0; x += 0.0137) {
      if (std::fabs(x) < 2 * kStep) continue;  // ReLU's corner
      const double above = reference::activation(activation, x + kStep);
      const double below = reference::activation(activation, x - kStep);
      ASSERT_NEAR(reference::activation_derivative(activation, x), (above - below) / (2 * kStep), 1e-9) << x;
    }
  }
}

/// |actual - expected| ≤ one rounding, or what the fast functions lose absolutely.
void expect_rounded(double actual, double expected, DType type, double scale) {
  const double rounding = type == DType::kBF16 ? 0x1p-8 : 1e-6;
  ASSERT_NEAR(actual, expected, rounding * std::fabs(expected) + 1e-6 * scale);
}

TEST(Activations, ThreadsChangeNoBit) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const Activation activation : kActivations) {
      std::vector<Tensor> results;
      const CpuContext one(1);
      const CpuContext two(2);
      const CpuContext five(5);
      for (const CpuContext* context : {&one, &two, &five}) {
        constexpr int64_t kCount = 50003;
        std::vector<double> x_values = random_values(kCount, 1, 2.0);
        std::vector<double> d_values = random_values(kCount, 2);
        const Tensor x = to_tensor(*context, x_values, {kCount}, type);
        const Tensor d_out = to_tensor(*context, d_values, {kCount}, type);
        const Tensor out = context->context.empty({kCount}, type);
        const Tensor d_pre = context->context.empty({kCount}, type);
        activation_forward(*context, activation, x, out);
        activation_backward(*context, activation, x, d_out, d_pre);
        results.insert(results.end(), {out, d_pre});
      }
      for (size_t i = 2; i < results.size(); ++i) {
        EXPECT_TRUE(testing::same_bits(results[i], results[i % 2])) << name_of(type) << static_cast<int>(activation);
      }
    }
  }
}

TEST(Activations, BothPassesEqualTheReference) {
  for (const int threads : {1, 3}) {
    const CpuContext context(threads);
    for (const DType type : {DType::kF32, DType::kBF16}) {
      for (const Activation activation : kActivations) {
        for (const int64_t count : {1, 3, 17, 130, 8192, 20001}) {
          SCOPED_TRACE(std::to_string(count) + name_of(type) + std::to_string(static_cast<int>(activation)));
          std::vector<double> x_values = random_values(count, 1, 2.0);
          std::vector<double> d_values = random_values(count, 2);
          const Tensor x = to_tensor(context, x_values, {count}, type);
          const Tensor d_out = to_tensor(context, d_values, {count}, type);
          const Tensor out = context.context.empty({count}, type);
          const Tensor d_pre = context.context.empty({count}, type);
          activation_forward(context, activation, x, out);
          activation_backward(context, activation, x, d_out, d_pre);
          const std::vector<double> forward = to_doubles(out);
          const std::vector<double> backward = to_doubles(d_pre);
          for (size_t i = 0; i < forward.size(); ++i) {
            expect_rounded(forward[i], reference::activation(activation, x_values[i]), type, 1.0);
            expect_rounded(backward[i], d_values[i] * reference::activation_derivative(activation, x_values[i]), type,
                           std::fabs(d_values[i]));
          }
          activation_backward(context, activation, x, d_out, d_out);
          EXPECT_TRUE(testing::same_bits(d_out, d_pre)) << "in place";
          activation_forward(context, activation, x, x);
          EXPECT_TRUE(testing::same_bits(x, out)) << "in place";
        }
      }
    }
  }
}

TEST(GatedActivations, BothPassesEqualTheReference) {
  for (const int threads : {1, 3}) {
    const CpuContext context(threads);
    for (const DType type : {DType::kF32, DType::kBF16}) {
      for (const Activation activation : kActivations) {
        for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 1}, {3, 17}, {129, 172}, {2, 9001}}) {
          std::vector<double> x = random_values(rows * 2 * width, 1, 2.0);
          std::vector<double> d = random_values(rows * width, 2);
          const Tensor gate_up = to_tensor(context, x, {rows, 2 * width}, type);
          const Tensor d_out = to_tensor(context, d, {rows, width}, type);
          const Tensor out = context.context.empty({rows, width}, type);
          const Tensor d_gate_up = context.context.empty({rows, 2 * width}, type);
          gated_activation_forward(context, activation, gate_up, out);
          gated_activation_backward(context, activation, gate_up, d_out, d_gate_up);
          const std::vector<double> forward = to_doubles(out);
          const std::vector<double> backward = to_doubles(d_gate_up);
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < width; ++c) {
              const double gate = x[r * 2 * width + c];
              const double up = x[r * 2 * width + width + c];
              const double gradient = d[r * width + c];
              const double f = reference::activation(activation, gate);
              expect_rounded(forward[r * width + c], f * up, type, std::fabs(up));
              expect_rounded(backward[r * 2 * width + c],
                             gradient * up * reference::activation_derivative(activation, gate), type,
                             std::fabs(gradient * up));
              expect_rounded(backward[r * 2 * width + width + c], gradient * f, type, std::fabs(gradient));
            }
          }
          gated_activation_backward(context, activation, gate_up, d_out, gate_up);
          EXPECT_TRUE(testing::same_bits(gate_up, d_gate_up)) << "in place";
        }
      }
    }
  }
}

TEST(GatedActivations, SwigluIsPyTorchs) {
  const testing::Golden golden = testing::read_golden("family_ops.txt");
  const CpuContext context;
  const auto load = [&](const std::string& name, Shape shape) {
    std::vector<double> values = golden.at(name);
    return to_tensor(context, values, shape, DType::kF32);
  };
  const Tensor gate_up = load("swiglu.gate_up", {3, 10});
  const Tensor out = context.context.empty({3, 5}, DType::kF32);
  const Tensor d_gate_up = context.context.empty({3, 10}, DType::kF32);
  gated_activation_forward(context, Activation::kSilu, gate_up, out);
  gated_activation_backward(context, Activation::kSilu, gate_up, load("swiglu.d_out", {3, 5}), d_gate_up);
  testing::expect_close(out, golden.at("swiglu.out"), 1e-6);
  testing::expect_close(d_gate_up, golden.at("swiglu.d_gate_up"), 1e-6);
}

}  // namespace
}  // namespace tsugi
