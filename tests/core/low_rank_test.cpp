#include "core/autograd/low_rank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "core/autograd/functions.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

constexpr int64_t kRows = 6, kIn = 5, kOut = 9, kRank = 2, kFirst = 3, kWidth = 4;
constexpr float kScale = 1.5f;

/// Deterministic values in about [-1, 1].
std::vector<double> values(int64_t count, double phase) {
  std::vector<double> all;
  for (int64_t i = 0; i < count; ++i) all.push_back(std::sin(1.7 * static_cast<double>(i) + phase));
  return all;
}

/// Σ weights ⊙ y, y = x·Wᵀ with the update on its columns: plain loops in double.
double reference(const std::vector<double>& x, const std::vector<double>& w, const std::vector<double>& a,
                 const std::vector<double>& b, const std::vector<double>& weights) {
  double sum = 0.0;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t o = 0; o < kOut; ++o) {
      double y = 0.0;
      for (int64_t i = 0; i < kIn; ++i) {
        double weight = w[static_cast<size_t>(o * kIn + i)];
        for (int64_t k = 0; k < kRank && o >= kFirst && o < kFirst + kWidth; ++k) {
          weight += static_cast<double>(kScale) * b[static_cast<size_t>((o - kFirst) * kRank + k)] *
                    a[static_cast<size_t>(k * kIn + i)];
        }
        y += x[static_cast<size_t>(r * kIn + i)] * weight;
      }
      sum += weights[static_cast<size_t>(r * kOut + o)] * y;
    }
  }
  return sum;
}

struct Layer {
  ThreadPool pool{2};
  HeapMemory memory;
  Context context{Device{}, pool, memory};
  ParameterStore store;
  Parameter weight, down, up;
  Tensor gradients;

  explicit Layer(bool freeze_weight) {
    const Initialization zeros{Initialization::Kind::kZeros};
    weight = store.add("weight", {kOut, kIn}, zeros, true);
    down = store.add("down", {kRank, kIn}, zeros, true);
    up = store.add("up", {kWidth, kRank}, zeros, true);
    store.end_unit();
    if (freeze_weight) store.freeze([](const ParameterInfo& info) { return info.name == "weight"; });
    store.allocate(context, DType::kF32);
    gradients = context.empty({store.chunks() * kChunkElements}, DType::kF32);
    fill_zero(context, gradients);
    store.bind_gradients(gradients);
  }
  Tensor tensor(const std::vector<double>& from, Shape shape) const {
    const Tensor to = context.empty(shape, DType::kF32);
    std::copy(from.begin(), from.end(), to.data<float>());
    return to;
  }
};

void set(const Parameter& parameter, const std::vector<double>& from) {
  std::copy(from.begin(), from.end(), parameter.value().data<float>());
}

/// The gradient by central differences.
std::vector<double> differences(std::vector<double>& at, const std::function<double()>& f) {
  constexpr double kStep = 1e-5;
  std::vector<double> gradient;
  for (double& value : at) {
    const double kept = value;
    value = kept + kStep;
    const double above = f();
    value = kept - kStep;
    gradient.push_back((above - f()) / (2.0 * kStep));
    value = kept;
  }
  return gradient;
}

void expect_near(const Tensor& ours, const std::vector<double>& expected, const std::string& what) {
  ASSERT_EQ(ours.elements(), static_cast<int64_t>(expected.size())) << what;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(ours.data<float>()[i]), expected[i], 1e-5 * (1.0 + std::abs(expected[i])))
        << what << " " << i;
  }
}

class LowRank : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Weight, LowRank, ::testing::Bool(),
                         [](const auto& way) { return way.param ? "frozen" : "trained"; });

TEST_P(LowRank, IsTheSumOfBothProductsWithItsGradients) {
  std::vector<double> x = values(kRows * kIn, 0.1), w = values(kOut * kIn, 0.7), a = values(kRank * kIn, 1.3),
                      b = values(kWidth * kRank, 2.1);
  const std::vector<double> weights = values(kRows * kOut, 2.9);
  Layer layer(GetParam());
  set(layer.weight, w);
  set(layer.down, a);
  set(layer.up, b);
  Tape tape(layer.context);
  const Variable input = tape.variable(layer.tensor(x, {2, kRows / 2, kIn}), true);
  const Variable base = linear(tape, input, layer.weight, {}, Activation::kNone, WeightLayout::kOutIn);
  const Variable y = low_rank_update(tape, input, base, layer.down, layer.up, kFirst, kScale);
  double sum = 0.0;
  for (int64_t i = 0; i < kRows * kOut; ++i) {
    sum += weights[static_cast<size_t>(i)] * static_cast<double>(y.value.data<float>()[i]);
  }
  const auto f = [&] { return reference(x, w, a, b, weights); };
  EXPECT_NEAR(sum, f(), 1e-5);

  y.gradient->add(layer.context, layer.tensor(weights, {2, kRows / 2, kOut}));
  tape.backward();
  expect_near(input.gradient->take(), differences(x, f), "x");
  expect_near(layer.down.gradient(), differences(a, f), "A");
  expect_near(layer.up.gradient(), differences(b, f), "B");
  if (!GetParam()) expect_near(layer.weight.gradient(), differences(w, f), "W");
}

}  // namespace
}  // namespace tsugi
