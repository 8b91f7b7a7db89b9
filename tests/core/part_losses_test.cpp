// Wholes and parts over a global batch on many ranks: gradients, not losses, as in view_losses_test.cpp.
#include "core/objective/part_losses.h"

#include <mutex>

#include "tests/core/image_training.h"
#include "tests/ops/contrastive_testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;

constexpr int64_t kPartSamples = 3;  // of a micro-batch
constexpr int64_t kPartBlocks = 6;
constexpr int64_t kPartWidth = 5;
constexpr int64_t kPartRows = kPartSamples * kPartBlocks;
/// Two wholes of overlapping parts, and a whole that is a part as well.
const std::vector<PartPair> kPartPairs{{3, 0, 3, 1.0f}, {4, 1, 2, 0.5f}, {0, 5, 1, 2.0f}};

PartLoss some_loss(PartBound bound) { return {bound, 0.8f, 4.0f, 0.05f}; }

std::vector<double> part_features(int64_t leaves) {
  std::vector<double> values = testing::random_values(leaves * kPartRows * kPartWidth, 31);
  for (double& value : values) value = static_cast<double>(static_cast<float>(value));
  return values;
}

struct PartGradient {
  double loss = 0.0;
  int64_t count = 0;
  int64_t nearest = 0;
  std::vector<float> gradient;  ///< of all features, in the order of micro-batches
};

PartGradient run_part_ranks(PartBound bound, int64_t leaves, int ranks) {
  const std::vector<double> values = part_features(leaves);
  const int64_t leaf_elements = kPartRows * kPartWidth;
  PartGradient whole;
  whole.gradient.resize(values.size());
  std::vector<LossSum> sums(static_cast<size_t>(leaves));
  std::mutex mutex;
  testing::run_ranks(ranks, [&](Communicator& communicator) {
    const LeafRange own = leaves_of_rank(leaves, ranks, communicator.rank());
    CpuContext cpu(ranks);
    const Tensor features = cpu.context.empty({leaves, kPartRows, kPartWidth}, DType::kF32);
    std::fill_n(features.data<float>(), features.elements(), std::numeric_limits<float>::quiet_NaN());
    for (int64_t i = own.begin * leaf_elements; i < own.end * leaf_elements; ++i) {
      features.data<float>()[i] = static_cast<float>(values[static_cast<size_t>(i)]);
    }
    gather_leaves(communicator, features);
    const FeatureLoss loss = contrast_parts(cpu, communicator, features, kPartBlocks, kPartPairs, some_loss(bound));
    const std::lock_guard lock(mutex);
    for (int64_t leaf = own.begin; leaf < own.end; ++leaf) {
      sums[static_cast<size_t>(leaf)] = loss.losses[static_cast<size_t>(leaf - own.begin)];
    }
    whole.nearest += loss.nearest;
    std::copy_n(loss.gradient.data<float>(), loss.gradient.elements(),
                whole.gradient.begin() + own.begin * leaf_elements);
  });
  for (const LossSum& sum : sums) {
    whole.loss += sum.sum;
    whole.count += sum.count;
  }
  return whole;
}

/// In double, from the reference of the operator. Without `remote_parts` the gradient of a part comes from the wholes
/// of its own rank alone.
PartGradient expected_part_gradient(PartBound bound, int64_t leaves, int ranks, bool remote_parts) {
  const std::vector<double> values = part_features(leaves);
  const int64_t samples = leaves * kPartSamples;
  /// Where block `block` of sample `sample` begins.
  const auto place = [&](int64_t block, int64_t sample) {
    return (sample / kPartSamples * kPartRows + block * kPartSamples + sample % kPartSamples) * kPartWidth;
  };
  PartGradient result;
  std::vector<double> gradient(values.size());
  for (const PartPair& pair : kPartPairs) {
    const PartLoss how = some_loss(bound);
    std::vector<double> parts;
    std::vector<int32_t> part_ids;
    for (int64_t j = 0; j < pair.parts * samples; ++j) {
      const int64_t from = place(pair.first_part + j / samples, j % samples);
      parts.insert(parts.end(), values.begin() + from, values.begin() + from + kPartWidth);
      part_ids.push_back(static_cast<int32_t>(j % samples));
    }
    for (int rank = 0; rank < ranks; ++rank) {  // the wholes of one rank after those of another
      const LeafRange own = leaves_of_rank(leaves, ranks, rank);
      std::vector<double> wholes;
      std::vector<int32_t> ids;
      for (int64_t i = own.begin * kPartSamples; i < own.end * kPartSamples; ++i) {
        wholes.insert(wholes.end(), values.begin() + place(pair.whole, i),
                      values.begin() + place(pair.whole, i) + kPartWidth);
        ids.push_back(static_cast<int32_t>(i));
      }
      const reference::PartScores shape{static_cast<int64_t>(ids.size()),
                                        pair.parts * samples,
                                        kPartWidth,
                                        how.bound,
                                        static_cast<double>(how.scale),
                                        static_cast<double>(how.clip),
                                        static_cast<double>(how.penalty),
                                        static_cast<double>(pair.weight)};
      std::vector<double> d_wholes(wholes.size());
      std::vector<double> d_parts(parts.size());
      const InfoNceSum sum = reference::part_bound(shape, wholes, parts, ids, part_ids, d_wholes, d_parts);
      result.loss += sum.loss.sum;
      result.count += sum.loss.count;
      result.nearest += sum.nearest;
      for (size_t i = 0; i < ids.size(); ++i) {
        for (int64_t c = 0; c < kPartWidth; ++c) {
          gradient[static_cast<size_t>(place(pair.whole, ids[i]) + c)] +=
              d_wholes[i * kPartWidth + static_cast<size_t>(c)];
        }
      }
      for (size_t j = 0; j < part_ids.size(); ++j) {
        const int64_t leaf = part_ids[j] / kPartSamples;
        if (!remote_parts && (leaf < own.begin || leaf >= own.end)) continue;
        const int64_t at = place(pair.first_part + static_cast<int64_t>(j) / samples, part_ids[j]);
        for (int64_t c = 0; c < kPartWidth; ++c) {
          gradient[static_cast<size_t>(at + c)] += d_parts[j * kPartWidth + static_cast<size_t>(c)];
        }
      }
    }
  }
  for (const double value : gradient) result.gradient.push_back(static_cast<float>(value));
  return result;
}

double part_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double squares = 0.0;
  double norm = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    squares += std::pow(static_cast<double>(actual[i]) - static_cast<double>(expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(squares / norm);
}

TEST(PartLosses, GradientsAreThoseOfTheWholeBatchOnAnyNumberOfRanks) {
  for (const PartBound bound : {PartBound::kJsd, PartBound::kInfoNce}) {
    const PartGradient expected = expected_part_gradient(bound, 4, 1, true);
    const PartGradient one = run_part_ranks(bound, 4, 1);
    EXPECT_NEAR(one.loss, expected.loss, 2e-6 * std::abs(expected.loss));
    EXPECT_EQ(one.count, 3 * 4 * kPartSamples);
    EXPECT_EQ(one.count, expected.count);
    EXPECT_EQ(one.nearest, expected.nearest);
    EXPECT_LE(part_error(one.gradient, expected.gradient), 1e-6);
    for (const int ranks : {2, 3, 4}) {
      const PartGradient many = run_part_ranks(bound, 4, ranks);
      EXPECT_EQ(many.loss, one.loss) << ranks << " ranks";
      EXPECT_EQ(many.nearest, one.nearest) << ranks << " ranks";
      EXPECT_EQ(many.gradient, one.gradient) << ranks << " ranks: the same bits";
    }
  }
}

// What a gather without gradient computes: the same loss, and a gradient that the test above would catch.
TEST(PartLosses, DetachedRemotePartsHaveAnotherGradient) {
  for (const PartBound bound : {PartBound::kJsd, PartBound::kInfoNce}) {
    const PartGradient right = run_part_ranks(bound, 4, 2);
    EXPECT_LE(part_error(right.gradient, expected_part_gradient(bound, 4, 2, true).gradient), 1e-6);
    const PartGradient detached = expected_part_gradient(bound, 4, 2, false);
    EXPECT_NEAR(detached.loss, right.loss, 1e-5 * std::abs(right.loss));
    EXPECT_GT(part_error(detached.gradient, right.gradient), 0.05);
  }
}

FeatureLoss compare_once(const Context& context, const Objective& objective, const Tensor& features) {
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  return objective.compare(context, *alone, features, 0);
}

TEST(Amdim, IsSymmetricInTheViews) {
  CpuContext cpu(1);
  const RunConfig config = testing::image_config("amdim { projection_width: 8 augmentation { smallest_crop: 0.5 } }");
  const std::unique_ptr<Objective> objective = testing::image_objective(config);
  const int64_t rows = 4 * objective->feature_rows();
  std::vector<double> values = testing::random_values(rows * 8, 3);
  const double one =
      compare_once(cpu, *objective, testing::to_tensor(cpu, values, {1, rows, 8}, DType::kF32)).losses.front().sum;
  std::ranges::rotate(values, values.begin() + static_cast<int64_t>(values.size()) / 2);  // the views change places
  const double other =
      compare_once(cpu, *objective, testing::to_tensor(cpu, values, {1, rows, 8}, DType::kF32)).losses.front().sum;
  EXPECT_NEAR(one, other, 1e-9 * one);
  EXPECT_GT(one, 0.0);
}

/// Features of 4 pictures, after `change` to the pixels.
template <class F>
std::vector<double> features_of(const RunConfig& config, F&& change) {
  const std::unique_ptr<Objective> objective = testing::image_objective(config);
  ThreadPool pool(1);
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  Engine engine(pool, *alone, config, *objective, {});
  engine.optimizer().initialize(5);
  const Batch batch = objective->training_batch(0, 4);
  change(batch);
  Tape tape(engine.context(), false);
  return testing::to_doubles(objective->features(tape, engine.model(), batch, {}).value);
}

// Local features are those before attention: the code of a patch knows of its own pixels alone, what stands for the
// picture of all.
TEST(Dim, PatchesAreCodedBeforeTheySeeEachOther) {
  for (const std::string text :
       {"dim { projection_width: 8 }", "amdim { projection_width: 8 augmentation { smallest_crop: 0.5 } }"}) {
    SCOPED_TRACE(text);
    const RunConfig config = testing::image_config(text);
    const auto patches = [&](const Batch& batch) { return batch.patches.shape()[1] * batch.patches.shape()[2]; };
    const std::vector<double> before = features_of(config, [](const Batch&) {});
    const std::vector<double> after = features_of(config, [&](const Batch& batch) {
      // Patch 2 of the first picture.
      float* const pixels = batch.patches.data<float>() + 2 * patches(batch) / 4;
      for (int64_t i = 0; i < patches(batch) / 4; ++i) pixels[i] += 1.0f;
    });
    ASSERT_EQ(before.size(), after.size());
    std::vector<int64_t> changed;  // features of the first picture, by block
    for (int64_t block = 0; block < static_cast<int64_t>(before.size()) / 32; ++block) {
      for (int64_t i = 0; i < 8; ++i) {
        const auto at = static_cast<size_t>(block * 32 + i);
        if (before[at] == after[at]) continue;
        changed.push_back(block);
        break;
      }
    }
    EXPECT_TRUE(std::ranges::find(changed, 2) != changed.end());
    for (const int64_t other : {0, 1, 3}) EXPECT_TRUE(std::ranges::find(changed, other) == changed.end()) << other;
    EXPECT_TRUE(std::ranges::find(changed, 4) != changed.end()) << "what stands for the picture";
  }
}

}  // namespace
}  // namespace tsugi
