// Gradients, not losses: a gather that forgets the gradient of the keys has the right loss.
#include "core/objective/nt_xent.h"

#include <mutex>

#include "ops/normalize_rows/normalize_rows.h"
#include "tests/dist/thread_communicator.h"
#include "tests/ops/contrastive_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::CpuContext;

constexpr int64_t kImages = 6;  // of a micro-batch
constexpr int64_t kFeatureWidth = 9;
constexpr float kTemperature = 0.2f;

/// Unit rows, in the order of micro-batches.
std::vector<double> unit_features(int64_t leaves) {
  std::vector<double> values = testing::random_values(leaves * 2 * kImages * kFeatureWidth, 77);
  std::vector<double> out(values.size());
  reference::normalize_rows(leaves * 2 * kImages, kFeatureWidth, values, out, {}, {});
  for (double& value : out) value = static_cast<double>(static_cast<float>(value));
  return out;
}

/// The step on `ranks` ranks: the sum of all losses, and the gradients of all features in the order of micro-batches.
struct GlobalGradient {
  double loss = 0.0;
  int64_t count = 0;
  std::vector<float> gradient;
};

GlobalGradient run_nt_xent(int64_t leaves, int ranks, int threads = 1) {
  const std::vector<double> values = unit_features(leaves);
  const int64_t leaf_elements = 2 * kImages * kFeatureWidth;
  GlobalGradient whole;
  whole.gradient.resize(values.size());
  std::vector<LossSum> sums(static_cast<size_t>(leaves));
  std::mutex mutex;
  testing::run_ranks(ranks, [&](Communicator& communicator) {
    const LeafRange own = leaves_of_rank(leaves, ranks, communicator.rank());
    CpuContext cpu(threads);
    const Tensor features = cpu.context.empty({leaves, 2 * kImages, kFeatureWidth}, DType::kF32);
    std::fill_n(features.data<float>(), features.elements(), std::numeric_limits<float>::quiet_NaN());
    for (int64_t i = own.begin * leaf_elements; i < own.end * leaf_elements; ++i) {
      features.data<float>()[i] = static_cast<float>(values[static_cast<size_t>(i)]);
    }
    gather_leaves(communicator, features);
    const FeatureLoss loss = nt_xent(cpu, communicator, features, kTemperature);
    const std::lock_guard lock(mutex);
    for (int64_t leaf = own.begin; leaf < own.end; ++leaf) {
      sums[static_cast<size_t>(leaf)] = loss.losses[static_cast<size_t>(leaf - own.begin)];
    }
    std::copy_n(loss.gradient.data<float>(), loss.gradient.elements(),
                whole.gradient.begin() + own.begin * leaf_elements);
  });
  for (const LossSum& sum : sums) {
    whole.loss += sum.sum;
    whole.count += sum.count;
  }
  return whole;
}

/// All rows at once, in double. Without `remote_keys` a row's gradient as a key comes from its own rank's queries
/// alone.
GlobalGradient expected_gradient(int64_t leaves, int ranks, bool remote_keys) {
  const int64_t rows = leaves * 2 * kImages;
  testing::InfoNceProblem p;
  p.shape = {rows, rows, kFeatureWidth, static_cast<double>(kTemperature)};
  p.queries = p.keys = unit_features(leaves);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t leaf = i / (2 * kImages);
    const int64_t row = i % (2 * kImages);
    p.positives.push_back(static_cast<int32_t>(leaf * 2 * kImages + (row + kImages) % (2 * kImages)));
    p.query_groups.push_back(static_cast<int32_t>(leaf * kImages + row % kImages));
  }
  p.key_groups = p.query_groups;
  std::vector<double> gradient(p.queries.size());
  std::vector<double> d_keys(p.keys.size());
  GlobalGradient result;
  const InfoNceSum sum = p.run_reference(gradient, d_keys);
  result.loss = sum.loss.sum;
  result.count = sum.loss.count;
  const std::vector<int32_t> positives = p.positives;
  for (int rank = 0; rank < ranks; ++rank) {
    const LeafRange own = leaves_of_rank(leaves, ranks, rank);
    const auto begin = static_cast<size_t>(own.begin * 2 * kImages);
    const auto end = static_cast<size_t>(own.end * 2 * kImages);
    if (!remote_keys) {
      for (size_t i = 0; i < positives.size(); ++i)
        p.positives[i] = i >= begin && i < end ? positives[i] : kIgnoreIndex;
      p.run_reference({}, d_keys);
    }
    for (size_t i = begin * kFeatureWidth; i < end * kFeatureWidth; ++i) gradient[i] += d_keys[i];
  }
  for (const double value : gradient) result.gradient.push_back(static_cast<float>(value));
  return result;
}

double gradient_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double squares = 0.0;
  double norm = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(actual[i]) - static_cast<double>(expected[i]);
    squares += difference * difference;
    norm += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return std::sqrt(squares / norm);
}

TEST(NtXent, GradientsAreThoseOfTheWholeBatchOnAnyNumberOfRanks) {
  for (const int64_t leaves : {4, 6}) {
    const GlobalGradient expected = expected_gradient(leaves, 1, true);
    const GlobalGradient one = run_nt_xent(leaves, 1);
    EXPECT_NEAR(one.loss, expected.loss, 1e-6 * expected.loss);
    EXPECT_EQ(one.count, leaves * 2 * kImages);
    EXPECT_LE(gradient_error(one.gradient, expected.gradient), 1e-6);
    for (const int ranks : {2, 3, 4}) {
      const GlobalGradient many = run_nt_xent(leaves, ranks, ranks);
      EXPECT_EQ(many.loss, one.loss) << ranks << " ranks";
      EXPECT_EQ(many.gradient, one.gradient) << ranks << " ranks: the same bits";
    }
  }
}

// What a gather without gradient computes: the loss above, and a gradient that the test above would catch.
TEST(NtXent, DetachedRemoteKeysHaveAnotherGradient) {
  const GlobalGradient right = run_nt_xent(4, 2);
  EXPECT_LE(gradient_error(right.gradient, expected_gradient(4, 2, true).gradient), 1e-6);
  const GlobalGradient detached = expected_gradient(4, 2, false);
  EXPECT_NEAR(detached.loss, right.loss, 1e-5 * right.loss);
  EXPECT_GT(gradient_error(detached.gradient, right.gradient), 0.05);
}

TEST(NtXent, OneMicroBatchIsTheSmallestGlobalBatch) {
  CpuContext cpu(1);
  std::vector<double> values = testing::lcg_values(1, 40);
  std::vector<double> unit(40);
  reference::normalize_rows(8, 5, values, unit, {}, {});
  const Tensor features = testing::to_tensor(cpu, unit, {8, 5}, DType::kF32);
  const Tensor gradient = cpu.context.empty({8, 5}, DType::kF32);
  const InfoNceSum sum = nt_xent(cpu, features, 0.5f, gradient);
  EXPECT_NEAR(sum.loss.sum / 8.0, 2.586405634308, 1e-6);
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  const FeatureLoss whole = nt_xent(cpu, *alone, features.reshape({1, 8, 5}), 0.5f);
  EXPECT_EQ(whole.losses.front().sum, sum.loss.sum);
  EXPECT_TRUE(testing::same_bits(whole.gradient, gradient));
}

}  // namespace
}  // namespace tsugi
