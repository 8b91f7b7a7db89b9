#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/nn/layers.h"
#include "ops/reduce/reduce.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

constexpr int64_t kBranchRows = 5, kBranchWidth = 6, kHidden = 3;

/// Those of tests/golden/make_bottleneck.py.
std::vector<float> sines(int64_t count, double phase) {
  std::vector<float> all;
  for (int64_t i = 0; i < count; ++i) all.push_back(static_cast<float>(std::sin(1.7 * static_cast<double>(i) + phase)));
  return all;
}

void fill_with_sines(const Tensor& tensor, double phase) {
  std::ranges::copy(sines(tensor.elements(), phase), tensor.data<float>());
}

/// A projection without a bias, and a bottleneck behind it.
struct AdaptedProjection {
  ThreadPool pool{2};
  HeapMemory memory;
  Context context{Device{}, pool, memory};
  ParameterStore store;
  Linear projection;
  Bottleneck adapter;
  Tensor gradients;

  AdaptedProjection() {
    projection = Linear::declare(store, {.names = {"projection"},
                                         .in = kBranchWidth,
                                         .rows = {kBranchWidth},
                                         .bias = false,
                                         .layout = WeightLayout::kOutIn});
    adapter = Bottleneck::declare(store, "layer.mlp_adapter", kBranchWidth, kHidden, 0.02f);
    store.end_unit();
    store.freeze([](const ParameterInfo& info) { return info.name == "projection.weight"; });
    store.allocate(context, DType::kF32);
    store.initial_values(3, 0, store.chunks(), store.working().data<float>());
    gradients = context.empty({store.trainable_chunks() * kChunkElements}, DType::kF32);
    fill_zero(context, gradients);
    store.bind_gradients(gradients);
    fill_with_sines(projection.weight.value(), 1.0);
  }
  Tensor input(double phase) const {
    const Tensor x = context.empty({1, kBranchRows, kBranchWidth}, DType::kF32);
    fill_with_sines(x, phase);
    return x;
  }
};

void expect_pytorch(const Tensor& ours, const std::vector<double>& expected, const char* what) {
  ASSERT_EQ(ours.elements(), static_cast<int64_t>(expected.size())) << what;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(ours.data<float>()[i]), expected[i], 2e-5 * (1.0 + std::abs(expected[i])))
        << what << " " << i;
  }
}

TEST(Bottleneck, ComputesWhatPyTorchDoesWithItsGradients) {
  const testing::Golden golden = testing::read_golden("bottleneck.txt");
  const AdaptedProjection layer;
  fill_with_sines(layer.adapter.down.weight.value(), 2.0);
  fill_with_sines(layer.adapter.down.bias.value(), 3.0);
  fill_with_sines(layer.adapter.up.weight.value(), 4.0);
  fill_with_sines(layer.adapter.up.bias.value(), 5.0);
  Tape tape(layer.context);
  const Variable x = tape.variable(layer.input(0.0), true);
  const Variable y = layer.adapter.forward(tape, layer.projection.forward(tape, x));
  expect_pytorch(y.value, golden.at("y"), "y");
  y.gradient->add(layer.context, layer.input(6.0));
  tape.backward();
  expect_pytorch(x.gradient->take(), golden.at("d_x"), "d_x");
  expect_pytorch(layer.adapter.down.weight.gradient(), golden.at("d_down"), "d_down");
  expect_pytorch(layer.adapter.down.bias.gradient(), golden.at("d_down_bias"), "d_down_bias");
  expect_pytorch(layer.adapter.up.weight.gradient(), golden.at("d_up"), "d_up");
  expect_pytorch(layer.adapter.up.bias.gradient(), golden.at("d_up_bias"), "d_up_bias");
}

TEST(Bottleneck, BeginsAsNothing) {
  const AdaptedProjection layer;
  Tape tape(layer.context, false);
  const Variable x = tape.variable(layer.input(0.0), false);
  const Variable branch = layer.projection.forward(tape, x);
  const std::vector<float> before(branch.value.data<float>(), branch.value.data<float>() + branch.value.elements());
  const Variable y = layer.adapter.forward(tape, branch);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), y.value.data<float>()));
  const Tensor down = layer.adapter.down.weight.value();
  EXPECT_TRUE(std::any_of(down.data<float>(), down.data<float>() + down.elements(), [](float v) { return v != 0.0f; }))
      << "or nothing could be learnt";
}

TEST(Bottleneck, FrozenWeightsHaveNoGradients) {
  const AdaptedProjection layer;
  EXPECT_EQ(layer.store.trainable_chunks(), 4);
  EXPECT_EQ(layer.store.chunks(), 5);
  EXPECT_EQ(layer.store.unit_ends(), std::vector<int64_t>{4});
  EXPECT_EQ(layer.store.tensors()[0].first_chunk, 4) << "behind what is trained";
  EXPECT_DEATH(layer.projection.weight.gradient(), "projection.weight");
}

}  // namespace
}  // namespace tsugi
