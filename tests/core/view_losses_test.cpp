// Losses over a global batch on many ranks. Gradients, not losses: a gather that forgets the gradient of the keys has
// the right loss.
#include "core/objective/view_losses.h"

#include <mutex>
#include <numeric>

#include "core/objective/block_losses.h"
#include "core/objective/clip.h"
#include "core/objective/moco.h"
#include "ops/normalize_rows/normalize_rows.h"
#include "tests/dist/thread_communicator.h"
#include "tests/ops/contrastive_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::InfoNceProblem;

constexpr int64_t kImages = 6;  // of a micro-batch
constexpr int64_t kFeatureWidth = 9;
constexpr float kTemperature = 0.2f;
constexpr float kTripletMargin = 0.3f;

enum class LossKind { kNtXent, kSupervised, kMargin, kLogistic, kClip, kBlocks };

/// kBlocks: two kinds of predictions of one thing, and something that nobody looks for.
constexpr int64_t kBlocks = 4;
const std::vector<BlockPair> kPairs{{2, 0}, {3, 0}};

/// Of image i of the global batch, for the kinds that know classes or captions.
int32_t class_of(int64_t image) { return static_cast<int32_t>(image % 5); }

std::vector<int32_t> classes_of(int64_t images) {
  std::vector<int32_t> classes;
  for (int64_t i = 0; i < images; ++i) classes.push_back(class_of(i));
  return classes;
}

FeatureLoss compare_features(LossKind kind, const Context& context, Communicator& communicator,
                             const Tensor& features) {
  const std::vector<int32_t> classes = classes_of(features.shape()[0] * kImages);
  switch (kind) {
    case LossKind::kNtXent:
      return nt_xent(context, communicator, features, kTemperature);
    case LossKind::kSupervised:
      return supervised_contrastive(context, communicator, features, classes, kTemperature);
    case LossKind::kMargin:
      return view_triplets(context, communicator, features, TripletForm::kMargin, kTripletMargin, 0.5f);
    case LossKind::kLogistic:
      return view_triplets(context, communicator, features, TripletForm::kLogistic, 0.0f, kTemperature);
    case LossKind::kClip:
      return clip_loss(context, communicator, features, classes);
    case LossKind::kBlocks: {
      std::vector<int32_t> samples(static_cast<size_t>(features.shape()[0] * 2 * kImages / kBlocks));
      std::iota(samples.begin(), samples.end(), 0);
      return contrast_blocks(context, communicator, features, kBlocks, kPairs, samples);
    }
  }
  LOG(FATAL) << "no such loss";
}

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
  int64_t nearest = 0;
  std::vector<float> gradient;
};

GlobalGradient run_comparison(LossKind kind, int64_t leaves, int ranks, int threads = 1) {
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
    const FeatureLoss loss = compare_features(kind, cpu, communicator, features);
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

/// All rows as queries and keys of each other.
InfoNceProblem whole_problem(LossKind kind, int64_t leaves) {
  const int64_t rows = leaves * 2 * kImages;
  InfoNceProblem p;
  p.shape = {rows, rows, kFeatureWidth, static_cast<double>(kTemperature)};
  if (kind == LossKind::kMargin) p.shape.temperature = 0.5;
  if (kind == LossKind::kClip || kind == LossKind::kBlocks) p.shape.temperature = 1.0;
  p.queries = p.keys = unit_features(leaves);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t leaf = i / (2 * kImages);
    const int64_t row = i % (2 * kImages);
    const int64_t image = leaf * kImages + row % kImages;
    p.positives.push_back(static_cast<int32_t>(leaf * 2 * kImages + (row + kImages) % (2 * kImages)));
    p.query_groups.push_back(static_cast<int32_t>(kind == LossKind::kSupervised ? i : image));
    if (kind == LossKind::kSupervised) p.query_classes.push_back(class_of(image));
  }
  p.key_groups = p.query_groups;
  p.key_classes = p.query_classes;
  return p;
}

/// Gradients of the losses of some rows: those with positives.
struct ReferenceGradients {
  InfoNceSum sum;
  std::vector<double> as_queries, as_keys;
};

ReferenceGradients reference_gradients(LossKind kind, const InfoNceProblem& p) {
  ReferenceGradients result{{}, std::vector<double>(p.queries.size()), std::vector<double>(p.keys.size())};
  if (kind == LossKind::kMargin || kind == LossKind::kLogistic) {
    const TripletForm form = kind == LossKind::kMargin ? TripletForm::kMargin : TripletForm::kLogistic;
    result.sum = p.run_triplet_reference(form, static_cast<double>(kTripletMargin), result.as_queries, result.as_keys);
  } else if (kind != LossKind::kClip && kind != LossKind::kBlocks) {
    result.sum = p.run_reference(result.as_queries, result.as_keys);
  } else {
    // Rows of one block look among those of another alone, and captions leave out what is equal to them.
    const std::vector<BlockPair> pairs = kind == LossKind::kClip ? std::vector<BlockPair>{{0, 1}, {1, 0}} : kPairs;
    const int64_t rows = 2 * kImages / (kind == LossKind::kClip ? 2 : kBlocks);
    for (const BlockPair& pair : pairs) {
      InfoNceProblem part = p;
      for (int64_t i = 0; i < p.shape.queries; ++i) {
        const auto at = static_cast<size_t>(i);
        const int64_t block = i % (2 * kImages) / rows;
        const int64_t sample = i / (2 * kImages) * rows + i % rows;
        const int32_t group = kind == LossKind::kClip ? class_of(sample) : static_cast<int32_t>(sample);
        if (part.positives[at] != kIgnoreIndex) {
          const int64_t positive = i / (2 * kImages) * 2 * kImages + pair.keys * rows + i % rows;
          part.positives[at] = block == pair.queries ? static_cast<int32_t>(positive) : kIgnoreIndex;
        }
        part.query_groups[at] = group;
        part.key_groups[at] = block == pair.keys ? group : kNoGroup;
      }
      std::vector<double> d_queries(p.queries.size());
      std::vector<double> d_keys(p.keys.size());
      const InfoNceSum sum = part.run_reference(d_queries, d_keys);
      result.sum.loss.sum += sum.loss.sum;
      result.sum.loss.count += sum.loss.count;
      result.sum.nearest += sum.nearest;
      for (size_t i = 0; i < d_keys.size(); ++i) {
        result.as_queries[i] += d_queries[i];
        result.as_keys[i] += d_keys[i];
      }
    }
  }
  return result;
}

/// All rows at once, in double. Without `remote_keys` a row's gradient as a key comes from its own rank's queries
/// alone.
GlobalGradient expected_gradient(LossKind kind, int64_t leaves, int ranks, bool remote_keys) {
  InfoNceProblem p = whole_problem(kind, leaves);
  const ReferenceGradients all = reference_gradients(kind, p);
  GlobalGradient result;
  result.loss = all.sum.loss.sum;
  result.count = all.sum.loss.count;
  result.nearest = all.sum.nearest;
  std::vector<double> gradient = all.as_queries;
  const std::vector<int32_t> positives = p.positives;
  for (int rank = 0; rank < ranks; ++rank) {
    const LeafRange own = leaves_of_rank(leaves, ranks, rank);
    const auto begin = static_cast<size_t>(own.begin * 2 * kImages);
    const auto end = static_cast<size_t>(own.end * 2 * kImages);
    std::vector<double> as_keys = all.as_keys;
    if (!remote_keys) {
      for (size_t i = 0; i < positives.size(); ++i) {
        p.positives[i] = i >= begin && i < end ? positives[i] : kIgnoreIndex;
      }
      as_keys = reference_gradients(kind, p).as_keys;
    }
    for (size_t i = begin * kFeatureWidth; i < end * kFeatureWidth; ++i) gradient[i] += as_keys[i];
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

class GlobalBatchLoss : public ::testing::TestWithParam<LossKind> {};

TEST_P(GlobalBatchLoss, GradientsAreThoseOfTheWholeBatchOnAnyNumberOfRanks) {
  for (const int64_t leaves : {4, 6}) {
    const GlobalGradient expected = expected_gradient(GetParam(), leaves, 1, true);
    const GlobalGradient one = run_comparison(GetParam(), leaves, 1);
    EXPECT_NEAR(one.loss, expected.loss, 1e-6 * expected.loss);
    EXPECT_EQ(one.count, expected.count);
    EXPECT_EQ(one.nearest, expected.nearest);
    EXPECT_LE(gradient_error(one.gradient, expected.gradient), 1e-6);
    for (const int ranks : {2, 3, 4}) {
      const GlobalGradient many = run_comparison(GetParam(), leaves, ranks, ranks);
      EXPECT_EQ(many.loss, one.loss) << ranks << " ranks";
      EXPECT_EQ(many.nearest, one.nearest) << ranks << " ranks";
      EXPECT_EQ(many.gradient, one.gradient) << ranks << " ranks: the same bits";
    }
  }
}

// What a gather without gradient computes: the loss above, and a gradient that the test above would catch.
TEST_P(GlobalBatchLoss, DetachedRemoteKeysHaveAnotherGradient) {
  const GlobalGradient right = run_comparison(GetParam(), 4, 2);
  EXPECT_LE(gradient_error(right.gradient, expected_gradient(GetParam(), 4, 2, true).gradient), 1e-6);
  const GlobalGradient detached = expected_gradient(GetParam(), 4, 2, false);
  EXPECT_NEAR(detached.loss, right.loss, 1e-5 * right.loss);
  EXPECT_GT(gradient_error(detached.gradient, right.gradient), 0.05);
}

std::string loss_name(const ::testing::TestParamInfo<LossKind>& parameter) {
  constexpr std::array kNames{"nt_xent", "supervised", "triplet_margin", "triplet_logistic", "clip", "blocks"};
  return kNames[parameter.index];
}

INSTANTIATE_TEST_SUITE_P(Losses, GlobalBatchLoss,
                         ::testing::Values(LossKind::kNtXent, LossKind::kSupervised, LossKind::kMargin,
                                           LossKind::kLogistic, LossKind::kClip, LossKind::kBlocks),
                         loss_name);

/// Unit rows of the golden files.
Tensor golden_rows(const Context& context, uint64_t seed, Shape shape) {
  const std::vector<double> values = testing::lcg_values(seed, shape.elements());
  std::vector<double> unit(values.size());
  reference::normalize_rows(shape.rows(), shape[-1], values, unit, {}, {});
  return testing::to_tensor(context, unit, shape, DType::kF32);
}

TEST(NtXent, OneMicroBatchIsTheSmallestGlobalBatch) {
  CpuContext cpu(1);
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  const FeatureLoss loss = nt_xent(cpu, *alone, golden_rows(cpu, 1, {1, 8, 5}), 0.5f);
  EXPECT_NEAR(loss.losses.front().sum / 8.0, 2.586405634308, 1e-6);
}

TEST(QueueContrast, MatchesPyTorch) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  CpuContext cpu(1);
  const Tensor d_queries = cpu.context.empty({3, 4}, DType::kF32);
  const InfoNceSum sum = queue_contrast(cpu, golden_rows(cpu, 101, {3, 4}), golden_rows(cpu, 102, {3, 4}),
                                        golden_rows(cpu, 103, {6, 4}), 0.07f, d_queries);
  EXPECT_EQ(sum.loss.count, 3);
  EXPECT_NEAR(sum.loss.sum / 3.0, 15.741684202708, 1e-5);
  std::vector<double> expected = golden.at("moco.d_q");
  for (double& value : expected) value *= 3.0;
  testing::expect_close(d_queries, expected, 1e-5);
}

// Pictures and captions change places: the same loss.
TEST(ClipLoss, IsSymmetricAndMatchesPyTorch) {
  CpuContext cpu(1);
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  const Tensor features = cpu.context.empty({1, 8, 5}, DType::kF32);
  const auto loss = [&](uint64_t first, uint64_t second) {
    const auto root = static_cast<float>(std::sqrt(1.0 / 0.07));
    for (const auto& [seed, half] : {std::pair{first, 0}, std::pair{second, 1}}) {
      const Tensor rows = golden_rows(cpu, seed, {4, 5});
      for (int64_t i = 0; i < 20; ++i) features.data<float>()[20 * half + i] = root * rows.data<float>()[i];
    }
    const std::vector<int32_t> captions{0, 1, 2, 3};
    return clip_loss(cpu, *alone, features, captions).losses.front();
  };
  const LossSum pictures_first = loss(111, 112);
  EXPECT_EQ(pictures_first.count, 8);
  EXPECT_NEAR(pictures_first.sum / 8.0, 7.445991655937, 1e-5);
  EXPECT_NEAR(loss(112, 111).sum, pictures_first.sum, 1e-6);
}

}  // namespace
}  // namespace tsugi
